#!lua
-- Copyright: (c) 2026, the mailhosting.stack authors
-- GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
-- SPDX-License-Identifier: GPL-3.0-or-later
--
-- What a sender sends too much of: mail of the same content, or to recipients that nobody is.
-- KEYS: counts by digest of content, counts of unknown recipients; both hashes have `held` once a hold has begun.
-- ARGV: the most recipients of the same content and the most unknown ones (0: any number), the window (seconds),
--   unknown recipients to add, recipients of a mail, how many of its digests make it another's, its digests...
-- Answers: nothing, or the kind of hold, the count, whether it begins with this call, milliseconds until it ends.

-- Digests that are counted at a time. With `held` few enough for Valkey's compact hashes (hash-max-listpack-entries).
local ROOM = 480

local most_same, most_unknown = tonumber(ARGV[1]), tonumber(ARGV[2])
local window = tonumber(ARGV[3]) * 1000
local unknown, recipients, quorum = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local digests = {unpack(ARGV, 7)}

-- Milliseconds until a window ends, which begins with what is first counted. The clock may have been set back.
local function left(key)
  local milliseconds = redis.call('PTTL', key)
  if milliseconds == -1 or milliseconds > window then
    redis.call('PEXPIRE', key, window)
    return window
  end
  return milliseconds
end

local function hold(kind, key, count)
  return {kind, count, redis.call('HSETNX', key, 'held', 1), left(key)}
end

-- The counts of the digests.
local function read_counts()
  local counts = redis.call('HMGET', KEYS[1], unpack(digests))
  for number, count in ipairs(counts) do
    counts[number] = tonumber(count) or 0
  end
  return counts
end

-- The count that a quorum of them has reached.
local function reached(counts)
  local sorted = {unpack(counts)}
  table.sort(sorted)
  return sorted[#sorted - quorum + 1] or 0
end

-- Forget what was rare: counts that are no hold yet lose what the half of them have, so none is ever too high, and each
-- is too low by a fifteenth of all the sender's recipients at most.
local function make_room()
  local all = redis.call('HGETALL', KEYS[1])
  local counts = {}
  for at = 1, #all, 2 do
    if all[at] ~= 'held' then counts[#counts + 1] = tonumber(all[at + 1]) end
  end
  table.sort(counts)
  local rare = counts[math.ceil(#counts / 2)]
  for at = 1, #all, 2 do
    if all[at] ~= 'held' then
      local counted = tonumber(all[at + 1])
      if counted <= rare and counted < most_same then
        redis.call('HDEL', KEYS[1], all[at])
      elseif counted < most_same then
        redis.call('HINCRBY', KEYS[1], all[at], -rare)
      end
    end
  end
end

if unknown > 0 then
  redis.call('HINCRBY', KEYS[2], 'count', unknown)
  left(KEYS[2])
end
local missed = tonumber(redis.call('HGET', KEYS[2], 'count')) or 0
if most_unknown > 0 and missed >= most_unknown then
  return hold('unknown_recipients', KEYS[2], missed)
end

if most_same == 0 or #digests == 0 then return {} end
local counts = read_counts()
if reached(counts) < most_same then
  if redis.call('HLEN', KEYS[1]) + #digests > ROOM then
    make_room()
    counts = read_counts()
  end
  local fields = {}
  for number, digest in ipairs(digests) do
    counts[number] = counts[number] + recipients
    fields[#fields + 1] = digest
    fields[#fields + 1] = counts[number]
  end
  redis.call('HSET', KEYS[1], unpack(fields))
  left(KEYS[1])
end
if reached(counts) >= most_same then
  return hold('mass_mail', KEYS[1], reached(counts))
end
return {}
