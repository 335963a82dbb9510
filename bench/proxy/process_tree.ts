/** Resource usage of a program and its children, from `/proc` (proc(5)). */

/** The kernel counts in hundredths of a second (`USER_HZ`, which is fixed on common Linux architectures). */
const TICKS_PER_SECOND = 100;
const PAGE_BYTES = 4096;

/** Resource usage of a process tree. */
export interface Usage {
  /** Processor time of user and kernel, in seconds. */
  readonly cpuSeconds: number;
  /** Resident memory, in bytes. */
  readonly rssBytes: number;
}

interface Stat {
  readonly parent: number;
  readonly cpuTicks: number;
  readonly rssPages: number;
}

/** Sums a process and its descendants; ended processes are included in the parent that waited for them. */
export function usageOf(root: number): Usage {
  const stats = readAll();
  let cpuTicks = 0;
  let rssPages = 0;
  for (const [pid, stat] of stats) {
    if (!descends(pid, root, stats)) continue;
    cpuTicks += stat.cpuTicks;
    rssPages += stat.rssPages;
  }
  return { cpuSeconds: cpuTicks / TICKS_PER_SECOND, rssBytes: rssPages * PAGE_BYTES };
}

function descends(pid: number, root: number, stats: ReadonlyMap<number, Stat>): boolean {
  for (let at: number | undefined = pid; at !== undefined && at > 1; at = stats.get(at)?.parent) {
    if (at === root) return true;
  }
  return false;
}

function readAll(): Map<number, Stat> {
  const stats = new Map<number, Stat>();
  for (const { name } of Deno.readDirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const stat = readStat(pid);
    if (stat !== null) stats.set(pid, stat);
  }
  return stats;
}

function readStat(pid: number): Stat | null {
  let text: string;
  try {
    text = Deno.readTextFileSync(`/proc/${pid}/stat`);
  } catch {
    // The process has ended since.
    return null;
  }
  // The name in parentheses may contain spaces; the third field follows it.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ").map(Number);
  const field = (number: number): number => fields[number - 3] ?? 0;
  return {
    parent: field(4),
    cpuTicks: field(14) + field(15) + field(16) + field(17),
    rssPages: field(24),
  };
}
