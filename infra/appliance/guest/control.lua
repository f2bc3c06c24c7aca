--- The control channel, `org.backhaul.control`: lines of JSON. A report goes out when a client connects, when a disk or a
-- port changes, and every few seconds. A line `{"ask":"<word>"}` is answered by a report that has it as `"answering"`:
-- how a client that came right after another knows that it is heard. `"end":<port>` beside it ends that port's server.
local unistd = require 'posix.unistd'
local fcntl = require 'posix.fcntl'
local channels = require 'channels'
local json = require 'json'

local control = {}

local REPORT_SECONDS = 3
local fd, path, endServer
local connected, heard, lastReport = false, '', 0

function control.open(onEnd)
  endServer = onEnd
  path = assert(channels.all()['org.backhaul.control'], 'There is no control channel')
  fd = assert(channels.open(path, fcntl.O_NONBLOCK))
end

local function send(report, answering)
  local line = report()
  line.answering = answering
  -- A host that does not read gets no more: the write fails, and the next report says all again.
  unistd.write(fd, json.encode(line) .. '\n')
end

--- What was heard of the line so far is kept for the next look.
local function answerAsks(report)
  local text = unistd.read(fd, 4096)
  while text and #text > 0 do
    heard = heard .. text
    for line in heard:gmatch('([^\n]*)\n') do
      local port = line:match('"end":(%d+)')
      if port then endServer(tonumber(port)) end
      local word = line:match('"ask":"([%w-]+)"')
      if word then send(report, word) end
    end
    heard = heard:match('[^\n]*$'):sub(-1024)
    text = unistd.read(fd, 4096)
  end
end

function control.look(now, report, changed)
  local was = connected
  connected = channels.hasClient(path)
  if not connected then
    heard = ''
    return
  end
  answerAsks(report)
  if not was or changed or now - lastReport > REPORT_SECONDS then
    send(report)
    lastReport = now
  end
end

function control.watch(watched)
  if connected then watched[fd] = { events = { IN = true } } end
end

return control
