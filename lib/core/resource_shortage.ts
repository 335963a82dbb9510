/** Whether something failed because this process or machine has run out of what it takes. */

/** Descriptors, buffers, memory, and local ports: whoever was to be reached has no part in these. */
const CODES: ReadonlySet<unknown> = new Set(["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EADDRNOTAVAIL"]);

/** The same in the texts of `fetch` and of the resolver, which have no code; the URL in them has no spaces. */
const TEXTS =
  /\b(?:too many open files|no buffer space available|cannot allocate memory|can(?:no|')t assign requested address)\b[^()]*\(os error \d+\)/i;

/** A failed lookup of a name; by EINVAL where a module of the resolver, such as nss-mdns, had no descriptor. */
const LOOKUP = /lookup address information|getaddrinfo|dns error|invalid argument \(os error 22\)/i;

/** How many causes are looked at. */
const MAX_CAUSES = 4;

/**
 * Tells what this machine lacked, such as `Too many open files (os error 24)`; `null` for failures of any other kind.
 *
 * A lookup that had no descriptor fails with the words for a name that does not exist (glibc), so for lookups it is
 * tried whether a socket can be opened.
 */
export function resourceShortage(error: unknown): string | null {
  let at = error;
  for (let i = 0; i < MAX_CAUSES && at instanceof Error; i++) {
    const { message } = at;
    if (CODES.has(codeOf(at))) return message;
    const text = TEXTS.exec(message);
    if (text !== null) return text[0];
    if (LOOKUP.test(message)) return socketShortage();
    at = at.cause;
  }
  return null;
}

/**
 * Opens what begins with the lookup of a name; a second time when the lookup failed and nothing is lacking now.
 *
 * The descriptor that the lookup lacked may have come back before {@linkcode resourceShortage} can try for one, and the
 * server would be blamed. A name that does not exist fails both times.
 *
 * @param signal when it has aborted, there is no second time
 */
export async function withSecondLookup<T>(open: () => Promise<T>, signal: AbortSignal): Promise<T> {
  try {
    return await open();
  } catch (error) {
    const failed = error instanceof Error && LOOKUP.test(error.message);
    if (!failed || signal.aborted || socketShortage() !== null) throw error;
    return await open();
  }
}

/** Tells what this machine lacks for one more socket; `null` when it lacks nothing, or that may not be tried. */
export function socketShortage(): string | null {
  // Without the permission the runtime would ask whoever sits at the terminal.
  if (Deno.permissions.querySync({ name: "net", host: "127.0.0.1:0" }).state !== "granted") return null;
  try {
    Deno.listen({ hostname: "127.0.0.1", port: 0 }).close();
    return null;
  } catch (error) {
    return error instanceof Error && CODES.has(codeOf(error)) ? error.message : null;
  }
}

function codeOf(error: Error): unknown {
  return (error as { code?: unknown }).code;
}

// How many files and sockets the process has, and may have.

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
