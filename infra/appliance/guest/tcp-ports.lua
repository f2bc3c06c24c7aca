--- Ports over TCP, on the network that the administrator gives: port N listens at 10809 + N (10809 is NBD's). The host says on the
-- kernel's command line: backhaul.address=ADDRESS/PREFIX (guest/init takes it), backhaul.ports=COUNT, and who may connect,
-- backhaul.clients=ADDRESS/PREFIX,...; whoever else tries is hung up on, and reported.
--
-- A connection knows its client, so there is nothing to separate: a server lives as long as its connection, and a client that comes
-- meanwhile waits to be accepted, as it does at the socket of a virtio-serial port. Of a client whose machine is gone the kernel
-- finds out (guest/init sets how soon).
local fcntl = require 'posix.fcntl'
local socket = require 'posix.sys.socket'
local unistd = require 'posix.unistd'
local files = require 'files'

local tcpPorts = {}

local FIRST_PORT = 10809
--- One client has the lease; this is for the one that it was taken from, and for strangers.
local QUEUE = 8

--- Strangers that are reported, each once: what servers report must not be pushed out by who knocks.
local STRANGERS_MAX = 32

local ports, note
local allowed = {} -- { network, mask }
local strangers, strangersSeen = {}, 0

local function option(name)
  return files.line('/proc/cmdline'):match('backhaul%.' .. name .. '=(%S+)')
end

local function number(address)
  local a, b, c, d = address:match('^(%d+)%.(%d+)%.(%d+)%.(%d+)$')
  return a and (a << 24 | b << 16 | c << 8 | d)
end

local function mayConnect(address)
  local from = number(address)
  for _, range in ipairs(allowed) do
    if from and from & range.mask == range.network then return true end
  end
  return false
end

local function reportStranger(port, address)
  if strangers[address] or strangersSeen == STRANGERS_MAX then return end
  strangers[address] = true
  strangersSeen = strangersSeen + 1
  note(('Port %d was tried by %s, who is not among its clients'):format(port.number, address))
end

--- Whether the host wants its ports here.
function tcpPorts.wanted() return option('address') ~= nil end

function tcpPorts.all(common, noteError)
  ports, note = common, noteError
  for address, prefix in assert(option('clients')):gmatch('([%d.]+)/(%d+)') do
    local mask = 0xffffffff << (32 - prefix) & 0xffffffff
    allowed[#allowed + 1] = { network = number(address) & mask, mask = mask }
  end
  local list = {}
  for n = 0, tonumber(option('ports')) - 1 do list[#list + 1] = { number = n } end
  return list
end

function tcpPorts.start(port)
  local fd = assert(socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0))
  fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
  fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.O_NONBLOCK)
  assert(socket.setsockopt(fd, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1))
  local address = { family = socket.AF_INET, addr = '0.0.0.0', port = FIRST_PORT + port.number }
  assert(socket.bind(fd, address))
  assert(socket.listen(fd, QUEUE))
  port.fd = fd
  ports.become(port, 'waiting')
end

function tcpPorts.ended(port) ports.become(port, 'waiting') end

tcpPorts.look = {
  waiting = function(port)
    local fd, from = socket.accept(port.fd)
    if not fd then return end
    if mayConnect(from.addr) then
      fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
      socket.setsockopt(fd, socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
      socket.setsockopt(fd, socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
      ports.serve(port, fd)
      port.sessions = port.sessions + 1
      ports.become(port, 'open')
    else
      reportStranger(port, from.addr)
    end
    unistd.close(fd)
  end,
}

--- Connections wake us by themselves. The end of a server does, too, unless it comes just before we go to sleep.
function tcpPorts.tickMilliseconds(all)
  for _, port in pairs(all) do
    if port.state == 'open' then return 100 end
  end
  return 500
end

function tcpPorts.watch(port, watched)
  if port.state == 'waiting' then watched[port.fd] = { events = { IN = true } } end
end

function tcpPorts.wake() end

return tcpPorts
