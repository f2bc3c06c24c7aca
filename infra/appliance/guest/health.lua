--- What the host is told: all of it every time, so that no line is needed to understand the next.
local files = require 'files'

local health = {}

local ERRORS_MAX = 8
local ERROR_CHARACTERS_MAX = 300
local errors = {}
-- When servers ended by a signal that nobody sent them on purpose (the kernel's, for want of memory): those of the last minute.
local CRASH_SECONDS = 60
local crashes = {}

--- Keeps the last few errors.
function health.note(text)
  errors[#errors + 1] = text:sub(1, ERROR_CHARACTERS_MAX)
  if #errors > ERRORS_MAX then table.remove(errors, 1) end
end

--- A server crashed.
function health.crashed(now)
  crashes[#crashes + 1] = now
end

local function crashesInMinute(now)
  while crashes[1] and now - crashes[1] > CRASH_SECONDS do table.remove(crashes, 1) end
  return #crashes
end

local function memory(field)
  return tonumber((files.all('/proc/meminfo') or ''):match(field .. ':%s+(%d+) kB') or 0) * 1024
end

function health.report(now, disks, ports)
  return function()
    return {
      uptimeSeconds = now,
      memoryTotalBytes = memory('MemTotal'),
      memoryAvailableBytes = memory('MemAvailable'),
      load = tonumber((files.line('/proc/loadavg') or '0'):match('^[%d.]+')),
      disks = disks,
      ports = ports,
      errors = errors,
      crashesInMinute = crashesInMinute(now),
    }
  end
end

return health
