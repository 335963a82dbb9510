/** The decision about a request, as a script that Redis runs in one step. */

import { MAX_AHEAD_US } from "../limiter/token_bucket.ts";

/** Takes the time from the server: one clock for all that share it. */
export const SERVER_TIME = "local time = redis.call('TIME')\nlocal now = time[1] * 1000000 + time[2]\n";

/** What a state takes in Redis: three doubles. */
const STATE = "<ddd";

/** Milliseconds that a key outlives what it says, for servers whose clocks differ a little after a failover. */
const SLACK_MS = 1000;

/** Longest life of a key in milliseconds: ten years stand for ever. */
const MAX_TTL_MS = 315_360_000_000;

/**
 * Reads a state, and writes one: always with an end, so that no key stays for ever.
 *
 * Something else under the key counts as nothing, which heals it.
 */
export const STATE_FUNCTIONS = `
local floor, ceil, max, min, INF = math.floor, math.ceil, math.max, math.min, math.huge
local AHEAD = ${MAX_AHEAD_US}
local function read(value)
  if not value or #value ~= 24 then return 0, 0, 0 end
  return struct.unpack('${STATE}', value)
end
local function write(key, a, b, c)
  local ttl = min(max(0, ceil((a - now) / 1000)) + ${SLACK_MS}, ${MAX_TTL_MS})
  redis.call('SET', key, struct.pack('${STATE}', a, b, c), 'PX', string.format('%.0f', ttl))
end
`;

/** Begins the period that runs, as `concurrency.ts` does. */
export const ROLL_PERIODS = `
local function roll(a, b, c, window)
  if a <= now then return now + 2 * window, 0, 0 end
  if a - window <= now then return a + window, c, 0 end
  return a, b, c
end
`;

/** The same arithmetic as `fixed_window.ts`, `sliding_window.ts`, `token_bucket.ts` and `concurrency.ts`, on doubles too. */
const ALGORITHMS = `
local function fixed(a, b, c, limit, window, burst, cost, penalize)
  local corrects = a > now + window
  if corrects then a = now + window elseif a <= now then a = now + window; b = 0 end
  local ok = b + cost <= limit
  if ok or penalize then b = b + cost end
  local retry = a - now
  if b + cost <= limit then retry = 0 elseif cost > limit then retry = INF end
  return ok, a, b, 0, max(0, floor(limit - b)), retry, a - now, corrects
end
local function sliding(a, b, c, limit, window, burst, cost, penalize)
  local start, previous, current = a - 2 * window, b, c
  local corrects = start > now
  if corrects then start = now
  elseif a <= now then start = now; previous = 0; current = 0
  elseif now >= start + window then start = start + window; previous = current; current = 0 end
  local left = window - (now - start)
  local ok = previous * left + (current + cost) * window <= limit * window
  if ok or penalize then current = current + cost end
  local retry
  if previous * left + (current + cost) * window <= limit * window then retry = 0
  elseif cost > limit then retry = INF
  elseif current + cost <= limit then retry = left - floor((limit - current - cost) * window / previous)
  else retry = left + max(0, window - floor((limit - cost) * window / current)) end
  local reset = 0
  if current > 0 then reset = left + window elseif previous > 0 then reset = left end
  local remaining = max(0, floor((limit * window - previous * left - current * window) / window))
  return ok, start + 2 * window, previous, current, remaining, retry, reset, corrects
end
local function refill(b, c, limit)
  if c > now + AHEAD then return b, now, true end
  local at = max(now, c)
  return max(0, b - (at - c) * limit), at, false
end
local function bucket(a, b, c, limit, window, burst, cost, penalize, bounded)
  if limit == 0 then burst = 0 end
  local capacity = burst * window
  local used, at, corrects = refill(b, c, limit)
  local most = penalize and 2 * capacity or capacity
  if bounded and used > most then used = most; corrects = true end
  local needed = cost * window
  local ok = used + needed <= capacity
  if ok then used = used + needed
  elseif penalize then used = max(used, min(used + needed, 2 * capacity)) end
  local full = 0
  if used ~= 0 then full = ceil(used / limit) end
  local missing = used + needed - capacity
  local retry = 0
  if missing > 0 then
    if cost > burst then retry = INF else retry = ceil(missing / limit) + at - now end
  end
  return ok, at + full, used, at, max(0, floor((capacity - used) / window)), retry, at + full - now, corrects
end
local function places(a, b, c, limit, window, burst, cost, penalize)
  a, b, c = roll(a, b, c, window)
  local ok = b + c + cost <= limit
  if ok then c = c + cost end
  local remaining = max(0, floor(limit - b - c))
  local retry = 1000000
  if remaining >= cost then retry = 0 elseif cost > limit then retry = INF end
  return ok, a, b, c, remaining, retry, 0
end
local algorithms = { f = fixed, s = sliding, t = bucket, c = places }
`;

/** Numbers of the reply for each policy. */
export const REPLY_SIZE = 5;
/** Numbers of the reply before those of the policies. */
export const REPLY_HEAD = 2;
/** Arguments of each policy. */
export const ARGUMENTS = 6;

/**
 * KEYS: one for each policy. ARGV: how often the request may be counted (leases), 1 to count or 0 to look only, and for
 * each policy algorithm, limit, window, burst, cost, flags (`p` penalizes, `d` is on a dry run, `b` is bounded, `-` none).
 *
 * Reply: the time, how often the request was counted (0: refused), and for each policy admitted (0 or 1), remaining,
 * microseconds until the next try and until all is there again (-1: never), and the end of the state.
 */
const DECISION = `
local find = string.find
local times, counts = tonumber(ARGV[1]), ARGV[2] == '1'
local values = redis.call('MGET', unpack(KEYS))
local reply, states = {}, {}
local function evaluate()
  local admitted = true
  for i = 1, #KEYS do
    local at = 6 * i - 3
    local flags = ARGV[at + 5]
    local penalize = find(flags, 'p', 1, true) ~= nil
    local a, b, c = read(values[i])
    local ok, remaining, retry, reset, corrects
    ok, a, b, c, remaining, retry, reset, corrects = algorithms[ARGV[at]](a, b, c, tonumber(ARGV[at + 1]),
      tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), times * tonumber(ARGV[at + 4]), penalize,
      find(flags, 'b', 1, true) ~= nil)
    if not ok and not find(flags, 'd', 1, true) then admitted = false end
    states[i] = { a, b, c, ok, penalize or corrects }
    local out = 5 * i - 2
    reply[out] = ok and 1 or 0
    reply[out + 1] = remaining
    reply[out + 2] = retry == INF and -1 or retry
    reply[out + 3] = reset == INF and -1 or reset
    reply[out + 4] = a == INF and -1 or a
  end
  return admitted
end
local admitted = evaluate()
if not admitted and times > 1 then
  times = 1
  admitted = evaluate()
end
if counts then
  for i, state in ipairs(states) do
    local writes = state[5]
    if state[4] then writes = admitted end
    if writes then write(KEYS[i], state[1], state[2], state[3]) end
  end
end
reply[1] = now
reply[2] = admitted and times or 0
return reply
`;

/** KEYS: one for each policy. ARGV: for each cost, window and the end of the state right after the places were taken. */
const RELEASE = `
for i, key in ipairs(KEYS) do
  local value = redis.call('GET', key)
  if value then
    local a, b, c = read(value)
    local cost, window, taken = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
    a, b, c = roll(a, b, c, window)
    if a == taken then c = max(0, c - cost) elseif a == taken + window then b = max(0, b - cost) end
    if b + c == 0 then redis.call('DEL', key) else write(key, a, b, c) end
  end
end
return {1}
`;

/**
 * KEYS: the one. ARGV: algorithm, limit, window, burst, what to add (or to take back, below 0), the end of the state and
 * the time when it was counted. The same arithmetic as `correction.ts`.
 */
const CORRECTION = `
local kind, limit, window, burst = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local delta, taken, at = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local value = redis.call('GET', KEYS[1])
local a, b, c = read(value)
local function fill(amount)
  local left, from = refill(b, c, limit)
  local used = max(0, left + amount)
  if used == 0 then return from, used, from end
  return from + ceil(used / limit), used, from
end
local function correct()
  if delta > 0 then
    if kind == 't' then return fill(delta * window) end
    local ok, x, y, z = algorithms[kind](a, b, c, limit, window, burst, delta, true)
    return x, y, z
  end
  if not value then return nil end
  if kind == 't' then
    local left = -delta * window - max(0, now - at) * limit
    if left <= 0 then return nil end
    return fill(-left)
  end
  if kind == 'f' and a == taken then return a, max(0, b + delta), c end
  if kind == 's' and a == taken then return a, b, max(0, c + delta) end
  if kind == 's' and a == taken + window then return a, max(0, b + delta), c end
  return nil
end
if kind ~= 'c' then
  a, b, c = correct()
  if a then write(KEYS[1], a, b, c) end
end
return {1}
`;

/**
 * KEYS: one that is not used otherwise. Runs all that the other scripts run and leaves nothing: a server that may not be
 * written to, has no memory left or does not let the user count says so.
 */
const CHECK = `
redis.call('MGET', KEYS[1])
redis.call('SET', KEYS[1], redis.call('GET', KEYS[1]) or now, 'PX', 1000)
redis.call('DEL', KEYS[1])
return {1}
`;

/** The script that finds out whether Redis would count. */
export function checkScript(): string {
  return SERVER_TIME + CHECK;
}

/** The script that counts more, or takes something back. */
export function correctScript(time: string = SERVER_TIME): string {
  return time + STATE_FUNCTIONS + ROLL_PERIODS + ALGORITHMS + CORRECTION;
}

/** The script that decides; all keys of a call are in one slot of a cluster. */
export function decideScript(time: string = SERVER_TIME): string {
  return time + STATE_FUNCTIONS + ROLL_PERIODS + ALGORITHMS + DECISION;
}

/** The script that gives places of concurrency policies back. */
export function releaseScript(time: string = SERVER_TIME): string {
  return time + STATE_FUNCTIONS + ROLL_PERIODS + RELEASE;
}
