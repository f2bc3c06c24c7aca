--- Time since the boot, which nobody sets.
local time = require 'posix.time'

local clock = {}

function clock.seconds()
  local now = time.clock_gettime(time.CLOCK_MONOTONIC)
  return now.tv_sec + now.tv_nsec / 1e9
end

return clock
