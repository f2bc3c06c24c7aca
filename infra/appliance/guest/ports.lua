--- The ports: one NBD server per client, one client per port at a time, the next client gets a server of its own. A port is reached
-- over a virtio-serial channel (serial-ports.lua) or over TCP (tcp-ports.lua): that says when a client comes and goes. What is the
-- same for both is here: servers and how they end, and what is told of ports.
-- States: waiting (for a client), open (a client is there), ended (its server is gone, and the port is not free yet), and those
-- that a kind has beside them.
local fcntl = require 'posix.fcntl'
local poll = require 'posix.poll'
local signal = require 'posix.signal'
local unistd = require 'posix.unistd'
local clock = require 'clock'
local serialPorts = require 'serial-ports'
local tcpPorts = require 'tcp-ports'

local ports = {}

-- 4 x 256 KiB is what one port may hold of requests at a time; a client that asks for more in one request is refused. A server is
-- nobody, so that a disk it may not write is served read-only: the file plugin tries to open it for writing, and then for reading.
local SERVER = {
  '--single', '--user=65534', '--group=65534', '--foreground', '--log=stderr', '--threads=4', '--filter=blocksize-policy',
  'file', 'dir=/exports', 'blocksize-maximum=256K', 'blocksize-error-policy=error',
}

local all = {} -- port number -> port
local kind
local version = 0
local note, crashed
local sayings, sayingsIn -- what servers write to their standard error

function ports.become(port, state)
  port.state = state
  port.since = clock.seconds()
  version = version + 1
end

--- Starts a server for who is, or will be, at the other end of `fd`.
function ports.serve(port, fd)
  local pid = assert(unistd.fork())
  if pid == 0 then
    unistd.dup2(fd, 0)
    unistd.dup2(fd, 1)
    unistd.dup2(sayingsIn, 2)
    unistd.exec('/bin/nbdkit', SERVER)
    unistd._exit(127)
  end
  port.pid = pid
  port.clientGone = false
end

function ports.open(noteError, onCrash)
  note, crashed = noteError, onCrash
  sayings, sayingsIn = unistd.pipe()
  for _, fd in ipairs { sayings, sayingsIn } do fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC) end
  kind = tcpPorts.wanted() and tcpPorts or serialPorts
  for _, port in ipairs(kind.all(ports, noteError)) do
    port.sessions = 0
    all[port.number] = port
    kind.start(port)
  end
end

--- A child has ended.
function ports.ended(pid, how, code)
  for _, port in pairs(all) do
    if port.pid == pid then
      port.pid = nil
      port.politely = how == 'exited' and code == 0
      if not port.politely and not port.clientGone then
        note(('The server of port %d ended: %s %d'):format(port.number, how, code))
        if how == 'killed' then crashed(clock.seconds()) end
      end
      kind.ended(port)
    end
  end
end

--- Ends the server of a port, whatever it is doing; its client, if any, is left without an answer.
function ports.kill(number)
  local port = all[number]
  if port and port.pid then signal.kill(port.pid, signal.SIGKILL) end
end

function ports.look(now)
  for _, port in pairs(all) do
    local look = kind.look[port.state]
    if look then look(port, now - port.since) end
  end
end

function ports.report()
  local list = {}
  for number, port in pairs(all) do
    list[#list + 1] = { port = number, state = port.state, sessions = port.sessions }
  end
  table.sort(list, function(a, b) return a.port < b.port end)
  return list
end

function ports.version() return version end

function ports.tickMilliseconds() return kind.tickMilliseconds(all) end

function ports.watch(watched)
  watched[sayings] = { events = { IN = true } }
  for _, port in pairs(all) do kind.watch(port, watched) end
end

function ports.wake(watched)
  for _, port in pairs(all) do kind.wake(port, watched) end
end

--- What the servers said on their standard error, if they did.
function ports.hear()
  local heard = { [sayings] = { events = { IN = true } } }
  if poll.poll(heard, 0) ~= 1 then return end
  for line in (unistd.read(sayings, 4096) or ''):gmatch('[^\n]+') do note(line) end
end

return ports
