-- Copyright: (c) 2026, the mailhosting.stack authors
-- GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
-- SPDX-License-Identifier: GPL-3.0-or-later
--
-- Counts the recipients of a sender by content, and the recipients that do not exist.
-- KEYS[1]: recipients by content; its name is the digests, four bytes each, of the first mail that had it.
-- KEYS[2]: `count` of invalid recipients. Both hashes have `begun` once an excess has begun.
-- ARGV: the most recipients of the same content and the most invalid ones (0: any number), the window (seconds),
--   invalid recipients to add, recipients of a mail (negative: to take back), how many digests two mails of one content
--   share, the digests of the mail...
-- Answers: nothing, or the kind of excess, the count, 1 if it begins with this call, milliseconds until it ends.

-- Contents that are counted at a time: so few, with names so short, that Valkey keeps them in a compact hash.
local MOST_CONTENTS = 30

local most_same, most_invalid = tonumber(ARGV[1]), tonumber(ARGV[2])
local window = tonumber(ARGV[3]) * 1000
local invalid, recipients, quorum = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local digests = {}
for number = 7, #ARGV do
  digests[number - 6] = struct.pack('>I4', tonumber(ARGV[number]))
end

-- Milliseconds until a window ends, which the first count begins. The clock may have been set back.
local function left(key)
  local milliseconds = redis.call('PTTL', key)
  if milliseconds == -1 or milliseconds > window then
    redis.call('PEXPIRE', key, window)
    return window
  end
  return milliseconds
end

local function hold(kind, key, count)
  return {kind, count, redis.call('HSETNX', key, 'begun', 1), left(key)}
end

local function read_contents()
  local contents = {}
  local all = redis.call('HGETALL', KEYS[1])
  for at = 1, #all, 2 do
    if all[at] ~= 'begun' then
      contents[#contents + 1] = {name = all[at], count = tonumber(all[at + 1])}
    end
  end
  return contents
end

-- The content that shares the most digests with the mail, if it shares `quorum` of them.
local function nearest(contents)
  local of_mail, best, most = {}, nil, quorum - 1
  for _, digest in ipairs(digests) do of_mail[digest] = true end
  for _, content in ipairs(contents) do
    local common = 0
    for at = 1, #content.name, 4 do
      if of_mail[content.name:sub(at, at + 3)] then common = common + 1 end
    end
    if common > most then best, most = content, common end
  end
  return best
end

-- Forgets rare contents: each count below the limit is reduced by the median of them. So no count is ever too high, and
-- each is too low by a fifteenth of all the sender's recipients at most.
local function make_room(contents)
  local counts = {}
  for _, content in ipairs(contents) do
    if content.count < most_same then counts[#counts + 1] = content.count end
  end
  table.sort(counts)
  local rare = counts[math.ceil(#counts / 2)]
  for _, content in ipairs(contents) do
    if content.count < most_same then
      if content.count <= rare then
        redis.call('HDEL', KEYS[1], content.name)
      else
        redis.call('HINCRBY', KEYS[1], content.name, -rare)
      end
    end
  end
end

if invalid > 0 then
  redis.call('HINCRBY', KEYS[2], 'count', invalid)
  left(KEYS[2])
end
local missed = tonumber(redis.call('HGET', KEYS[2], 'count')) or 0
if most_invalid > 0 and missed >= most_invalid then
  return hold('invalid_recipients', KEYS[2], missed)
end

if most_same == 0 or #digests == 0 then return {} end
local contents = read_contents()
local content = nearest(contents)
if recipients < 0 then
  if content then
    local count = redis.call('HINCRBY', KEYS[1], content.name, recipients)
    if count <= 0 then redis.call('HDEL', KEYS[1], content.name) end
    if count < most_same then redis.call('HDEL', KEYS[1], 'begun') end
  end
  return {}
end
if not content then
  if #contents >= MOST_CONTENTS then make_room(contents) end
  content = {name = table.concat(digests), count = 0}
end
if content.count < most_same then
  content.count = redis.call('HINCRBY', KEYS[1], content.name, recipients)
  left(KEYS[1])
end
if content.count >= most_same then
  return hold('bulk_mail', KEYS[1], content.count)
end
return {}
