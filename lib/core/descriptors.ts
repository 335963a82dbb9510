/** How many files and sockets the process has, and may have. */

/** How many descriptors are open; `null` where that cannot be found out, which takes Linux and `-A`. */
export function openDescriptors(): number | null {
  return readSystem(() => [...Deno.readDirSync("/proc/self/fd")].length);
}

/** How many may be open; `null` where that cannot be found out, which takes Linux and `-A`. */
export function descriptorLimit(): number | null {
  return readSystem(() => {
    const limit = /^Max open files\s+(\d+)/m.exec(Deno.readTextFileSync("/proc/self/limits"))?.[1];
    return limit === undefined ? null : Number(limit);
  });
}

function readSystem(read: () => number | null): number | null {
  // Without the permission the runtime would prompt at the terminal.
  if (Deno.permissions.querySync({ name: "read" }).state !== "granted") return null;
  try {
    return read();
  } catch {
    return null;
  }
}

/** A descriptor that is kept to be given up when there is no other; nothing where no file may be read. */
export class SpareDescriptor implements Disposable {
  readonly #allowed = Deno.permissions.querySync({ name: "read", path: SPARE }).state === "granted";
  #file: Deno.FsFile | null = null;
  #disposed = false;

  constructor() {
    this.open();
  }

  /** Takes one again, unless it has one; `false` when none is left. */
  open(): boolean {
    if (!this.#allowed || this.#disposed || this.#file !== null) return true;
    try {
      this.#file = Deno.openSync(SPARE);
      return true;
    } catch {
      return false;
    }
  }

  /** Gives it up; tells whether there was one. */
  giveUp(): boolean {
    const held = this.#file !== null;
    this.#file?.close();
    this.#file = null;
    return held;
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.giveUp();
  }
}

const SPARE = "/dev/null";
