--- The disks that come and go: a virtio disk with a serial becomes the export of that name, and stops being one when it
-- is gone. Nothing here reads or writes a disk. (The kernel itself looks for a partition table, a few KiB, when a disk appears.)
-- A server may write a disk when the disk's own file says so, by its permissions: a frozen disk is everybody's to read, a disk of
-- a VM to be is everybody's to write, and servers are nobody (ports.lua).
local dirent = require 'posix.dirent'
local poll = require 'posix.poll'
local socket = require 'posix.sys.socket'
local stat = require 'posix.sys.stat'
local unistd = require 'posix.unistd'
local files = require 'files'

local disks = {}

local BLOCK = '/sys/block/'
local EXPORTS = '/exports/'
local KERNEL_NEWS = 1 -- the multicast group of netlink(7) KOBJECT_UEVENT
-- Read ahead as much as one request may ask for: NBD clients read in order. But never of a disk that others write as well: what
-- was read ahead of its time would be taken for what they have written since.
local READ_AHEAD_KIB = { frozen = '512', writable = '0' }
local PERMISSIONS = { frozen = tonumber('444', 8), writable = tonumber('666', 8) }
local LOOK_SECONDS = 1

local served = {} -- device name -> { serial, bytes, readOnly }
local version = 0
local lookedAt = 0
local news, note

function disks.open(noteError)
  note = noteError
  news = assert(socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, socket.NETLINK_KOBJECT_UEVENT))
  assert(socket.bind(news, { family = socket.AF_NETLINK, pid = 0, groups = KERNEL_NEWS }))
end

local function serve(device)
  local serial = files.line(BLOCK .. device .. '/serial')
  -- A disk without one was not meant for us; a name with a slash would leave the folder.
  if not serial or not serial:match('^[%w-]+$') then return end
  local sectors = tonumber(files.line(BLOCK .. device .. '/size'))
  if not sectors then return end
  local readOnly = files.line(BLOCK .. device .. '/ro') ~= '0'
  local kind = readOnly and 'frozen' or 'writable'
  files.write(BLOCK .. device .. '/queue/read_ahead_kb', READ_AHEAD_KIB[kind])
  local allowed, why = stat.chmod('/dev/' .. device, PERMISSIONS[kind])
  if not allowed then return note('Serving ' .. serial .. ' failed: ' .. why) end
  unistd.unlink(EXPORTS .. serial)
  local linked, problem = unistd.link('/dev/' .. device, EXPORTS .. serial, true)
  if not linked then return note('Serving ' .. serial .. ' failed: ' .. problem) end
  served[device] = { serial = serial, bytes = sectors * 512, readOnly = readOnly }
  version = version + 1
end

--- True when the kernel had news. What they say does not matter.
local function heardNews()
  local heard = { [news] = { events = { IN = true } } }
  local any = false
  while poll.poll(heard, 0) == 1 do
    socket.recv(news, 8192)
    any = true
  end
  return any
end

--- Compares what is served with what is there: after news, and now and then in case some were lost.
function disks.look(now)
  if not heardNews() and now - lookedAt < LOOK_SECONDS then return end
  lookedAt = now
  local present, new = {}, {}
  for device in dirent.files(BLOCK) do
    if device:match('^vd%a+$') then
      local known = served[device]
      if known and files.line(BLOCK .. device .. '/serial') == known.serial then present[device] = true
      else new[#new + 1] = device end
    end
  end
  -- First what has gone, then what has come: a disk that was plugged in again has the same export under another device.
  for device, disk in pairs(served) do
    if not present[device] then
      unistd.unlink(EXPORTS .. disk.serial)
      served[device] = nil
      version = version + 1
    end
  end
  for _, device in ipairs(new) do serve(device) end
end

function disks.served()
  local list = {}
  for _, disk in pairs(served) do list[#list + 1] = disk end
  table.sort(list, function(a, b) return a.serial < b.serial end)
  return list
end

function disks.version() return version end

function disks.watch(watched)
  watched[news] = { events = { IN = true } }
end

return disks
