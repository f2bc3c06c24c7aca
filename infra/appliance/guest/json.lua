--- Writes JSON: what a report needs and no more. A table with a first element, or none at all, is an array.
local json = {}

local function quoted(text)
  return '"' .. text:gsub('[%c"\\\128-\255]', function(c) return ('\\u%04x'):format(c:byte()) end) .. '"'
end

function json.encode(value)
  if type(value) == 'string' then return quoted(value) end
  if type(value) ~= 'table' then return tostring(value) end
  local parts = {}
  if #value > 0 or next(value) == nil then
    for _, item in ipairs(value) do parts[#parts + 1] = json.encode(item) end
    return '[' .. table.concat(parts, ',') .. ']'
  end
  for key, item in pairs(value) do parts[#parts + 1] = quoted(key) .. ':' .. json.encode(item) end
  table.sort(parts)
  return '{' .. table.concat(parts, ',') .. '}'
end

return json
