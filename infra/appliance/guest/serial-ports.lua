--- Ports over virtio-serial channels, `org.backhaul.port.N`.
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
local signal = require 'posix.signal'
local unistd = require 'posix.unistd'
local channels = require 'channels'

local serialPorts = {}

local GOODBYE_SECONDS = 0.1
local FAILED_START_SECONDS = 1
local SILENT_SECONDS = 3

local ports

function serialPorts.all(common)
  ports = common
  local list = {}
  for name, path in pairs(channels.all()) do
    local number = tonumber(name:match('^org%.backhaul%.port%.(%d+)$'))
    if number then list[#list + 1] = { number = number, path = path } end
  end
  return list
end

function serialPorts.start(port)
  port.fd = channels.open(port.path)
  -- The child that becomes the server of another port holds it for a moment, between fork and exec.
  if not port.fd then return ports.become(port, 'closed') end
  port.heardBefore = channels.bytesReceived(port.path)
  port.greeted = false
  ports.serve(port, port.fd)
  ports.become(port, 'waiting')
end

local function renew(port)
  unistd.close(port.fd)
  serialPorts.start(port)
end

function serialPorts.ended(port)
  local neverServed = port.state == 'waiting' and not port.politely and not channels.hasClient(port.path)
  ports.become(port, neverServed and 'failed' or 'ended')
end

local function isSilent(port, age)
  if age < SILENT_SECONDS or port.greeted then return false end
  port.greeted = channels.bytesReceived(port.path) ~= port.heardBefore
  return not port.greeted
end

serialPorts.look = {
  waiting = function(port)
    if not channels.hasClient(port.path) then return end
    port.sessions = port.sessions + 1
    ports.become(port, 'open')
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
  closed = serialPorts.start,
  failed = function(port, age)
    if age > FAILED_START_SECONDS then renew(port) end
  end,
}

--- The coming and going of clients wakes nobody: the end of one has to be seen before the next can have come.
function serialPorts.tickMilliseconds(all)
  for _, port in pairs(all) do
    if port.state ~= 'waiting' then return 20 end
  end
  return 100
end

function serialPorts.watch(port, watched)
  -- Where no server sleeps for data, a poll does no harm.
  if port.state == 'ended' then watched[port.fd] = { events = {} } end
end

function serialPorts.wake(port, watched)
  local heard = port.state == 'ended' and watched[port.fd]
  if heard and heard.revents and heard.revents.HUP then port.clientGone = true end
end

return serialPorts
