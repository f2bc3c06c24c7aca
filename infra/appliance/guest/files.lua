--- Small files of /sys and /proc.
local files = {}

function files.all(path)
  local file = io.open(path, 'r')
  if not file then return nil end
  local text = file:read('a')
  file:close()
  return text
end

--- The first line; nil when the file is gone or empty.
function files.line(path)
  local text = files.all(path)
  return text and text:match('^[^\n]+')
end

function files.write(path, text)
  local file = io.open(path, 'w')
  if not file then return false end
  local written = file:write(text)
  return file:close() and written ~= nil
end

return files
