-- Copyright: (c) 2026, the mailhosting.stack authors
-- GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
-- SPDX-License-Identifier: GPL-3.0-or-later
--
-- Compares a mail with limits, pauses, mailboxes and pools. If it passes and `commit` is set, counts it everywhere.
-- KEYS[1] is the epoch of usage, KEYS[2] the set of usernames whose usage is to be measured. ARGV[1] is JSON, made by
-- counters.py, and names the other keys by number:
--   commit       whether to count
--   subjects[]   pause (key), limits[]: window (of windows), most, pause (seconds; none: until the window ends),
--                pauses[] (keys), text (what is kept of it)
--   windows[]    key, amount, per (seconds), most (to be shown)
--   spaces[]     key, usage (key), needed, quota, username or total (this usage is a sum, which is asked for)
--   daily_counts[] key, counts (by field), keep (seconds)
-- Answers: {'allowed', spaces of unknown usage...}, {'total', spaces whose sum is missing...},
--   {'paused', subject, text, milliseconds}, {'exceeded', subject, limit, milliseconds, began} or {'full', space};
--   numbers from 1, -1 milliseconds for never.

-- An accepted mail is reserved for at least so long, and at most twice as long, unless usage shows it earlier.
local HELD_SECONDS = 20

local plan = cjson.decode(ARGV[1])
local now = tonumber(redis.call('TIME')[1])

-- Milliseconds until a key expires, 0 if there is none. Never more than `most`: the clock may have been set back.
local function left(key, most)
  local milliseconds = redis.call('PTTL', key)
  if milliseconds == -1 or milliseconds > most then
    redis.call('PEXPIRE', key, most)
    return most
  end
  return math.max(0, milliseconds)
end

local function pause_left(key)
  if redis.call('EXISTS', key) == 0 then return 0 end
  local length = tonumber(redis.call('HGET', key, 'length')) or 0
  return left(key, length * 1000)
end

-- Bytes in use by space, nil where unknown; of a total without some mailboxes, the bytes in the others as `least`.
local function read_usage()
  local usage, least, unknown, missing = {}, {}, {'allowed'}, {'total'}
  local whole = #plan.spaces > 0 and redis.call('EXISTS', KEYS[1]) == 1
  for number, space in ipairs(plan.spaces) do
    local value = redis.call('GET', KEYS[space.usage])
    if whole and space.total and not value then
      missing[#missing + 1] = number
    else
      usage[number] = whole and tonumber(value) or nil
      if not usage[number] then
        unknown[#unknown + 1] = number
        least[number] = whole and space.total and tonumber(value:sub(2)) or nil
        if space.username then redis.call('SADD', KEYS[2], space.username) end
      end
    end
  end
  return usage, least, unknown, missing
end

-- Begins the pauses of `limit`, unless they have begun before. Answers the milliseconds left, and 1 if one began.
local function begin_pause(limit, window)
  local key = KEYS[window.key]
  local length = limit.pause and limit.pause * 1000 or window.left
  local began = 0
  for _, pause in ipairs(limit.pauses) do
    if length > 0 and pause_left(KEYS[pause]) == 0 then
      redis.call('HSET', KEYS[pause], 'limit', limit.text, 'since', now, 'length', math.ceil(length / 1000))
      redis.call('PEXPIRE', KEYS[pause], length)
      began = 1
    end
  end
  if began == 0 then return window.left, 0 end
  -- A pause of its own length replaces the rest of the window, which would outlast it.
  if limit.pause then redis.call('DEL', key) end
  return length, 1
end

-- The answer for the first pause or limit that stops the mail. A mail that is only checked may never be sent, so it
-- begins a pause only if the window is used up without it.
local function find_exceeded()
  for _, window in ipairs(plan.windows) do
    window.left = left(KEYS[window.key], window.per * 1000)
    window.n = window.left > 0 and tonumber(redis.call('HGET', KEYS[window.key], 'n')) or 0
  end
  for number, subject in ipairs(plan.subjects) do
    local milliseconds = pause_left(KEYS[subject.pause])
    if milliseconds > 0 then
      return {'paused', number, redis.call('HGET', KEYS[subject.pause], 'limit') or '', milliseconds}
    end
  end
  for number, subject in ipairs(plan.subjects) do
    for which, limit in ipairs(subject.limits) do
      local window = plan.windows[limit.window]
      if window.amount > limit.most then
        return {'exceeded', number, which, -1, 0}
      elseif window.n + window.amount > limit.most then
        local milliseconds, began = window.left, 0
        if plan.commit or window.n >= limit.most then milliseconds, began = begin_pause(limit, window) end
        return {'exceeded', number, which, milliseconds, began}
      end
    end
  end
end

-- The reservation of a space: `reserved` bytes were accepted since `base` bytes were in use, and `outstanding` of them
-- are not in `usage` yet. Other mail that is stored looks like their arrival, so the reservation begins anew when none
-- are outstanding. Deletions hide arrivals, so never more are outstanding than the mail of the present and the last
-- period of HELD_SECONDS has: `newer` bytes since `since`, and `older` ones.
local function read_reservation(space, usage)
  local key = KEYS[space.key]
  left(key, 2 * HELD_SECONDS * 1000)
  local values = redis.call('HMGET', key, 'base', 'reserved', 'since', 'newer', 'older')
  local held = {
    base = tonumber(values[1]) or usage,
    reserved = tonumber(values[2]) or 0,
    since = math.min(now, tonumber(values[3]) or now),
    newer = tonumber(values[4]) or 0,
    older = tonumber(values[5]) or 0,
  }
  local age = now - held.since
  if age >= HELD_SECONDS then
    held.older = age < 2 * HELD_SECONDS and held.newer or 0
    held.newer, held.since = 0, now
  end
  local recent = held.newer + held.older
  held.outstanding = held.reserved - math.max(0, usage - held.base)
  if held.outstanding <= 0 or held.outstanding > recent then
    held.outstanding = math.max(0, math.min(held.outstanding, recent))
    held.base, held.reserved = usage, held.outstanding
  end
  return held
end

local function count_rates()
  for _, window in ipairs(plan.windows) do
    local key = KEYS[window.key]
    redis.call('HSET', key, 'n', window.n + window.amount, 'most', window.most)
    if window.left == 0 then
      redis.call('HSET', key, 'since', now)
      redis.call('PEXPIRE', key, window.per * 1000)
    end
  end
end

local function reserve(space, held)
  redis.call(
    'HSET', KEYS[space.key], 'base', held.base, 'reserved', held.reserved + space.needed,
    'since', held.since, 'newer', held.newer + space.needed, 'older', held.older
  )
  redis.call('EXPIRE', KEYS[space.key], 2 * HELD_SECONDS)
end

local usage, least, unknown, missing = read_usage()
if #missing > 1 then return missing end

local exceeded = find_exceeded()
if exceeded then return exceeded end

local reservations = {}
for number, space in ipairs(plan.spaces) do
  if usage[number] then
    local held = read_reservation(space, usage[number])
    if usage[number] + held.outstanding + space.free > space.quota then
      -- The usage service measures it anew, in case Dovecot failed to write its usage.
      if space.username then redis.call('SADD', KEYS[2], space.username) end
      return {'full', number}
    end
    reservations[number] = held
  elseif least[number] and least[number] + space.free > space.quota then
    return {'full', number}
  end
end

if plan.commit then
  count_rates()
  for number, held in pairs(reservations) do reserve(plan.spaces[number], held) end
  for _, daily_count in ipairs(plan.daily_counts) do
    for field, count in pairs(daily_count.counts) do redis.call('HINCRBY', KEYS[daily_count.key], field, count) end
    redis.call('EXPIRE', KEYS[daily_count.key], daily_count.keep, 'NX')
  end
end
return unknown
