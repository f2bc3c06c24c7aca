--- Writes numbered records to every disk, one after the other and each durably before the next, so that whatever a disk
-- held at one instant can be told from what it never held. Record n is written to all disks, in the order of their names, before
-- record n + 1 is begun: to its place in the journal (the first MiB: slot n mod 256 of 4 KiB), and behind it to a place
-- of the data area that n decides, 16 KiB of it. So at any instant no disk is more than one record ahead of the next one.
-- Options on the kernel's command line: writing.pause=MILLISECONDS between records, writing.records=COUNT to power off after,
-- writing.skip=COUNT for disks, the first ones, that it leaves alone, writing.tell=COUNT of records between two lines on the console.
local fcntl = require 'posix.fcntl'
local poll = require 'posix.poll'
local unistd = require 'posix.unistd'

local JOURNAL_SLOTS, SLOT_BYTES = 256, 4096
local JOURNAL_BYTES = JOURNAL_SLOTS * SLOT_BYTES
local RECORD_BYTES, GRID_BYTES = 16384, 65536

local function readAll(path)
  local file = assert(io.open(path, 'r'))
  local text = file:read('a')
  file:close()
  return text
end

local function option(name, otherwise)
  return tonumber(readAll('/proc/cmdline'):match('writing%.' .. name .. '=(%d+)')) or otherwise
end

local function openDisks()
  local names = {}
  local listing = assert(io.popen('/bin/busybox ls /sys/block'))
  for name in listing:lines() do
    if name:match('^vd') then names[#names + 1] = name end
  end
  listing:close()
  table.sort(names)
  names = table.move(names, 1 + option('skip', 0), #names, 1, {})
  local disks = {}
  for _, name in ipairs(names) do
    disks[#disks + 1] = {
      fd = assert(fcntl.open('/dev/' .. name, fcntl.O_RDWR)),
      size = tonumber(readAll('/sys/block/' .. name .. '/size')) * 512,
    }
  end
  return disks
end

local function writeAt(fd, offset, bytes)
  assert(unistd.lseek(fd, offset, unistd.SEEK_SET) == offset)
  assert(unistd.write(fd, bytes) == #bytes)
end

local disks = openDisks()
local pause, last, tell = option('pause', 0), option('records', math.huge), option('tell', 100)
for n = 1, last do
  local text = ('%015d\n'):format(n)
  for _, disk in ipairs(disks) do
    local places = (disk.size - JOURNAL_BYTES) // GRID_BYTES
    if places > 0 then
      writeAt(disk.fd, JOURNAL_BYTES + (n * 7919 % places) * GRID_BYTES, text:rep(RECORD_BYTES // #text))
      assert(unistd.fsync(disk.fd) == 0)
    end
    writeAt(disk.fd, n % JOURNAL_SLOTS * SLOT_BYTES, text:rep(SLOT_BYTES // #text))
    assert(unistd.fsync(disk.fd) == 0)
  end
  if n % tell == 0 then print('written ' .. n) end
  if pause > 0 then poll.poll({}, pause) end
end
os.execute('/bin/busybox poweroff -f')
