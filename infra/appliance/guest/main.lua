--- The appliance: serves every disk that is hot-added to this VM, by its serial, at every port, writable or read-only as the disk
-- itself is, and says on the control channel what it sees. One process, one loop: a wake-up comes from the control channel, the
-- kernel's news of disks, the end of a server, or the clock. Everything is then looked at as it is: news are only wake-ups.
package.path = '/lib/appliance/?.lua;' .. package.path

local poll = require 'posix.poll'
local signal = require 'posix.signal'
local wait = require 'posix.sys.wait'
local clock = require 'clock'
local control = require 'control'
local disks = require 'disks'
local health = require 'health'
local ports = require 'ports'

-- Only to interrupt the poll: who ended is asked below.
signal.signal(signal.SIGCHLD, function() end)

local function reapServers()
  while true do
    local pid, how, code = wait.wait(-1, wait.WNOHANG)
    if not pid or pid == 0 then return end
    ports.ended(pid, how, code)
  end
end

ports.open(health.note, health.crashed)
disks.open(health.note)
control.open(function(port) return ports.kill(port) end)

local said = ''
while true do
  local now = clock.seconds()
  reapServers()
  ports.hear()
  disks.look(now)
  ports.look(now)
  local report = health.report(now, disks.served(), ports.report())
  -- Changes are told at once, and what changes all the time every few seconds.
  local changes = disks.version() .. '/' .. ports.version()
  control.look(now, report, changes ~= said)
  said = changes

  local watched = {}
  ports.watch(watched)
  disks.watch(watched)
  control.watch(watched)
  poll.poll(watched, ports.tickMilliseconds())
  ports.wake(watched)
end
