/** Where everything is in the memory of a `SharedTable`; all positions are in words of 32 bits. */

/** Marks the memory as a table of this layout; a worker of another version must not misread it. */
export const MAGIC = 0x6c623032;

/** Words of the header. */
export const HEADER = {
  magic: 0,
  maxKeys: 1,
  groups: 2,
  sketches: 3,
  sketchCells: 4,
  seedLow: 5,
  seedHigh: 6,
  /** Latest time that any worker has seen, in milliseconds modulo 2^32. */
  latestMs: 7,
  /** Tick until which some key is banned. */
  bannedUntil: 8,
  /** Cells of a row of one generation of displaced keys. */
  displacedCells: 9,
  /** Float64: wall time of the table's time zero. */
  originMs: 10,
  /** Tick until which something is remembered of a displaced key. */
  displacedUntil: 12,
  /** How many cells of the younger generation are taken, in its first row. */
  displacedTaken: 13,
  /** Which generation is the younger one, 0 or 1. */
  displacedGeneration: 14,
  /** 1 when another table has all entries. */
  moved: 15,
  /** For each sketch: salt of its policy (0: free), then tick until which it counts anything. */
  directory: 16,
  size: 16 + 2 * 128,
} as const;

/** Most policies with a sketch. */
export const MAX_SKETCHES = 128;

/** Most keys of a table. */
export const MAX_KEYS = 2 ** 24;

/** Ways of a bucket: their tags and ticks fill one cache line. */
export const WAYS = 8;
/** Buckets of a group, which has one version for all of them. */
export const BUCKETS = 64;
/**
 * Keys that a group is meant for: nine in sixteen places.
 *
 * With two buckets to choose from no key then finds both full: none in 20 simulated tables of 100,000 keys; with 320
 * keys to a group one key in 20 tables, with 384 already seven in each.
 */
const KEYS_PER_GROUP = 288;

/** `pending` of a group whose entries another table has. */
export const MOVED = 2;

/** Words of an entry: second half of the fingerprint, share of the limit that is used, and three Float64 of state. */
export const ENTRY = { check: 0, use: 1, state: 2, size: 8 } as const;

/** `use` of an entry that has used up its limit. */
export const FULL_USE = 2 ** 30;
/** `use` of an entry that no other key may displace: permits that requests hold, and bans. */
export const PINNED = 2 ** 31 - 1;

/** Words of a bucket: the line of tags and ticks, and right behind it, on the same page, the entries. */
export const BUCKET = {
  tags: 0,
  ticks: WAYS,
  entries: 2 * WAYS,
  size: 2 * WAYS + WAYS * ENTRY.size,
} as const;

/** Words of a group: version and journal, in one line, and the buckets. */
export const GROUP = {
  version: 0,
  /** 1 while the journal has to be replayed; 2 when another table has the entries, and the version stays odd. */
  pending: 1,
  slot: 2,
  tag: 3,
  tick: 4,
  check: 5,
  /** Three Float64. */
  state: 6,
  use: 12,
  buckets: 16,
  size: 16 + BUCKETS * BUCKET.size,
} as const;

/** Microseconds of a tick, the unit of expiry times in 32 bits. */
export const TICK_US = 65_536;
const MAX_TICKS_AHEAD = 2 ** 31 - 2;

/** Rows of a sketch. */
export const ROWS = 4;

/** Rows of a generation of displaced keys. */
export const DISPLACED_ROWS = 4;
const MIN_DISPLACED_CELLS = 8192;

/** Turns a time into ticks modulo 2^32, rounded up: compared by the sign of the difference. */
export function tickOf(timeUs: number, nowUs: number): number {
  const now = Math.floor(nowUs / TICK_US);
  return Math.min(Math.floor(timeUs / TICK_US) + 1, now + MAX_TICKS_AHEAD) | 0;
}

/** The sizes that follow from how many keys there are to be. */
interface TableSize {
  readonly groups: number;
  readonly sketchCells: number;
  readonly displacedCells: number;
  readonly byteLength: number;
}

/** Works out the sizes of a table. */
export function tableSize(maxKeys: number, sketches: number): TableSize {
  const groups = Math.max(1, Math.ceil(maxKeys / KEYS_PER_GROUP));
  // A power of two near a sixteenth of the keys: 8,192 in a row for 100,000.
  const sketchCells = 2 ** Math.max(10, Math.ceil(Math.log2(maxKeys / 16)));
  const displacedCells = Math.max(MIN_DISPLACED_CELLS, sketches * sketchCells);
  const words = HEADER.size + groups * GROUP.size + sketches * ROWS * 2 * sketchCells +
    DISPLACED_ROWS * 2 * displacedCells;
  return { groups, sketchCells, displacedCells, byteLength: words * 4 };
}
