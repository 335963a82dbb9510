/** The machine of a run. */

/** The machine and its system. */
export interface Machine {
  readonly processor: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly system: string;
}

/** Reads the description from the system. */
export function describeMachine(): Machine {
  const cpu = Deno.readTextFileSync("/proc/cpuinfo");
  return {
    processor: /^model name\s*:\s*(.+)$/m.exec(cpu)?.[1] ?? Deno.build.arch,
    cores: navigator.hardwareConcurrency,
    memoryGiB: Math.round(Deno.systemMemoryInfo().total / 2 ** 30),
    system: `Linux ${Deno.osRelease()}`,
  };
}
