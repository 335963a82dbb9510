/** Layout of the memory of a `SharedTable`; all positions are in 32-bit words. */

/** Marks the memory as a table of this layout: a worker of another version must not misread it. */
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
  /** Tick until which at least one key is banned. */
  bannedUntil: 8,
  /** Cells per row of one generation of displaced keys. */
  displacedCells: 9,
  /** Float64: wall time of the table's time zero. */
  originMs: 10,
  /** Tick until which the share of at least one displaced key is remembered. */
  displacedUntil: 12,
  /** Used cells in the first row of the younger generation. */
  displacedTaken: 13,
  /** Index of the younger generation, 0 or 1. */
  displacedGeneration: 14,
  /** 1 after all entries moved to another table. */
  moved: 15,
  /** For each sketch: salt of its policy (0: free), then the tick until which its counts matter. */
  directory: 16,
  size: 16 + 2 * 128,
} as const;

/** Maximum number of policies with a sketch. */
export const MAX_SKETCHES = 128;

/** Maximum number of keys of a table. */
export const MAX_KEYS = 2 ** 24;

/** Entries of a bucket: their tags and ticks fill one cache line. */
export const WAYS = 8;
/** Buckets of a group. All of them share one version. */
export const BUCKETS = 64;
/**
 * Keys per group that a table is sized for: nine per sixteen entries.
 *
 * With two buckets to choose from, a key then never finds both full: 0 times in 20 simulated tables of 100,000 keys.
 * With 320 keys per group it happens to one key in 20 tables, with 384 to seven keys per table.
 */
const KEYS_PER_GROUP = 288;

/** `pending` of a group whose entries moved to another table. */
export const MOVED = 2;

/** Words of an entry: second half of the fingerprint, used share of the limit, and three Float64 of state. */
export const ENTRY = { check: 0, use: 1, state: 2, size: 8 } as const;

/** `use` of an entry whose limit is used up. */
export const FULL_USE = 2 ** 30;
/** `use` of an entry that must not be displaced: permits held by requests, and bans. */
export const PINNED = 2 ** 31 - 1;

/** Words of a bucket: one cache line of tags and ticks, followed on the same page by the entries. */
export const BUCKET = {
  tags: 0,
  ticks: WAYS,
  entries: 2 * WAYS,
  size: 2 * WAYS + WAYS * ENTRY.size,
} as const;

/** Words of a group: version and journal in one cache line, then the buckets. */
export const GROUP = {
  version: 0,
  /** 1 while the journal has to be replayed; 2 after the entries moved to another table (the version stays odd). */
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

/** Microseconds per tick, the unit of 32-bit expiry times. */
export const TICK_US = 65_536;
const MAX_TICKS_AHEAD = 2 ** 31 - 2;

/** Rows of a sketch. */
export const ROWS = 4;

/** Rows of a generation of displaced keys. */
export const DISPLACED_ROWS = 4;
const MIN_DISPLACED_CELLS = 8192;

/** Converts a time to ticks modulo 2^32, rounded up. Compare ticks by the sign of their difference. */
export function tickOf(timeUs: number, nowUs: number): number {
  const now = Math.floor(nowUs / TICK_US);
  return Math.min(Math.floor(timeUs / TICK_US) + 1, now + MAX_TICKS_AHEAD) | 0;
}

/** Sizes that follow from the number of keys. */
interface TableSize {
  readonly groups: number;
  readonly sketchCells: number;
  readonly displacedCells: number;
  readonly byteLength: number;
}

/** Computes the sizes of a table. */
export function tableSize(maxKeys: number, sketches: number): TableSize {
  const groups = Math.max(1, Math.ceil(maxKeys / KEYS_PER_GROUP));
  // A power of two near a sixteenth of the keys: 8,192 cells per row for 100,000 keys.
  const sketchCells = 2 ** Math.max(10, Math.ceil(Math.log2(maxKeys / 16)));
  const displacedCells = Math.max(MIN_DISPLACED_CELLS, sketches * sketchCells);
  const words = HEADER.size + groups * GROUP.size + sketches * ROWS * 2 * sketchCells +
    DISPLACED_ROWS * 2 * displacedCells;
  return { groups, sketchCells, displacedCells, byteLength: words * 4 };
}
