--- The ports: one NBD server per port, one client per server, the next client gets a server of its own.
--
-- A virtio-serial port is a pipe that knows no connections: nothing in it separates the bytes of one client of the host's
-- socket from those of the next. So a server is never shared and never outlives its client:
-- * waiting: a server has been started; its greeting waits in the kernel until a client connects.
-- * open:    a client is there. When it goes, the server is killed at once: the rest of a reply that it was writing would
--            otherwise be the first that the next client reads. Closing the device drops what the client had still sent.
-- * ended:   the server is gone, and its client was not seen to go. Whatever was written now could be read as part of a
--            reply, so nothing is, until the client goes. After a goodbye (exit code 0) that is waited for only for a
--            moment: the client that is seen then is the next one, or one that listens no more.
-- (closed: the device could not be opened yet. failed: the server never got as far as a client; it is not hurried.)
-- A client that says nothing to its greeting has not got one: it was written to the client before, who was just going. It
-- gets another, from a fresh server, after three seconds.
-- Left over: a client that comes within a millisecond of the violent end of the one before it may not be noticed; it waits
-- for its greeting until it gives up, or reads the rest of a reply instead of one. Ports are leased, so nobody queues.
local poll = require 'posix.poll'
local signal = require 'posix.signal'
local unistd = require 'posix.unistd'
local fcntl = require 'posix.fcntl'
local channels = require 'channels'
local clock = require 'clock'

local ports = {}

local GOODBYE_SECONDS = 0.1
local FAILED_START_SECONDS = 1
local SILENT_SECONDS = 3
-- 4 x 256 KiB is what one port may hold of requests at a time; a client that asks for more in one request is refused. A server is
-- nobody, so that a disk it may not write is served read-only: the file plugin tries to open it for writing, and then for reading.
local SERVER = {
  '--single', '--user=65534', '--group=65534', '--foreground', '--log=stderr', '--threads=4', '--filter=blocksize-policy',
  'file', 'dir=/exports', 'blocksize-maximum=256K', 'blocksize-error-policy=error',
}

local all = {} -- port number -> port
local version = 0
local note, crashed
local sayings, sayingsIn -- what servers write to their standard error

local function become(port, state)
  port.state = state
  port.since = clock.seconds()
  version = version + 1
end

local function start(port)
  port.fd = channels.open(port.path)
  -- The child that becomes the server of another port holds it for a moment, between fork and exec.
  if not port.fd then return become(port, 'closed') end
  port.heardBefore = channels.bytesReceived(port.path)
  local pid = assert(unistd.fork())
  if pid == 0 then
    unistd.dup2(port.fd, 0)
    unistd.dup2(port.fd, 1)
    unistd.dup2(sayingsIn, 2)
    unistd.exec('/bin/nbdkit', SERVER)
    unistd._exit(127)
  end
  port.pid = pid
  port.clientGone, port.greeted = false, false
  become(port, 'waiting')
end

local function renew(port)
  unistd.close(port.fd)
  start(port)
end

function ports.open(noteError, onCrash)
  note, crashed = noteError, onCrash
  sayings, sayingsIn = unistd.pipe()
  for _, fd in ipairs { sayings, sayingsIn } do fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC) end
  for name, path in pairs(channels.all()) do
    local number = tonumber(name:match('^org%.backhaul%.port%.(%d+)$'))
    if number then
      all[number] = { number = number, path = path, sessions = 0 }
      start(all[number])
    end
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
      become(port, port.state == 'waiting' and not port.politely and not channels.hasClient(port.path) and 'failed' or 'ended')
    end
  end
end

--- Ends the server of a port, whatever it is doing; its client, if any, is left without an answer.
function ports.kill(number)
  local port = all[number]
  if port and port.pid then signal.kill(port.pid, signal.SIGKILL) end
end

local function isSilent(port, age)
  if age < SILENT_SECONDS or port.greeted then return false end
  port.greeted = channels.bytesReceived(port.path) ~= port.heardBefore
  return not port.greeted
end

local look = {
  waiting = function(port)
    if not channels.hasClient(port.path) then return end
    port.sessions = port.sessions + 1
    become(port, 'open')
  end,
  open = function(port, age)
    if port.clientGone then return end
    if channels.hasClient(port.path) and not isSilent(port, age) then return end
    -- Once seen it stays so, whoever is there by the time the server has ended.
    port.clientGone = true
    signal.kill(port.pid, signal.SIGKILL)
  end,
  ended = function(port, age)
    local gone = port.clientGone or not channels.hasClient(port.path)
    if gone or (port.politely and age > GOODBYE_SECONDS) then renew(port) end
  end,
  closed = start,
  failed = function(port, age)
    if age > FAILED_START_SECONDS then renew(port) end
  end,
}

function ports.look(now)
  for _, port in pairs(all) do look[port.state](port, now - port.since) end
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

--- The coming and going of clients wakes nobody: the end of one has to be seen before the next can have come.
function ports.tickMilliseconds()
  for _, port in pairs(all) do
    if port.state ~= 'waiting' then return 20 end
  end
  return 100
end

function ports.watch(watched)
  watched[sayings] = { events = { IN = true } }
  -- Where no server sleeps for data, a poll does no harm.
  for _, port in pairs(all) do
    if port.state == 'ended' then watched[port.fd] = { events = {} } end
  end
end

function ports.wake(watched)
  for _, port in pairs(all) do
    local heard = port.state == 'ended' and watched[port.fd]
    if heard and heard.revents and heard.revents.HUP then port.clientGone = true end
  end
end

--- What the servers said on their standard error, if they did.
function ports.hear()
  local heard = { [sayings] = { events = { IN = true } } }
  if poll.poll(heard, 0) ~= 1 then return end
  for line in (unistd.read(sayings, 4096) or ''):gmatch('[^\n]+') do note(line) end
end

return ports
