--- The virtio-serial ports of this VM by the names that the host gave them, and whether the host's side has a client.
local dirent = require 'posix.dirent'
local fcntl = require 'posix.fcntl'
local files = require 'files'

local channels = {}

local CLASS = '/sys/class/virtio-ports/'

--- Device path by name, such as 'org.backhaul.port.0'.
function channels.all()
  local found = {}
  for entry in dirent.files(CLASS) do
    local name = files.line(CLASS .. entry .. '/name')
    if name then found[name] = '/dev/' .. entry end
  end
  return found
end

--- Nil, with the reason, while somebody has it open.
function channels.open(path, flags)
  return fcntl.open(path, fcntl.O_RDWR | fcntl.O_CLOEXEC | (flags or 0))
end

local function counters(path)
  return files.all('/sys/kernel/debug/virtio-ports/' .. path:match('[^/]+$')) or ''
end

--- Whether somebody holds the socket on the host. Asked of the kernel's counters and not by poll(2): a poll takes arrived
-- data off the queue without waking the server that sleeps for it, and the server then sleeps on.
function channels.hasClient(path)
  return counters(path):match('host_connected: (%d)') == '1'
end

--- How much the host's side has sent through this port, ever.
function channels.bytesReceived(path)
  return tonumber(counters(path):match('bytes_received: (%d+)'))
end

return channels
