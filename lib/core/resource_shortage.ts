/** Detects failures caused by exhausted resources of this process or machine. */

/** Codes for exhausted descriptors, buffers, memory and local ports, which no server has caused. */
const CODES: ReadonlySet<unknown> = new Set(["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EADDRNOTAVAIL"]);

/** The same in messages of `fetch` and of the resolver, which have no code; the URL in them has no spaces. */
const TEXTS =
  /\b(?:too many open files|no buffer space available|cannot allocate memory|can(?:no|')t assign requested address)\b[^()]*\(os error \d+\)/i;

/** A failed name lookup; EINVAL if a module of the resolver, such as nss-mdns, had no descriptor. */
const LOOKUP = /lookup address information|getaddrinfo|dns error|invalid argument \(os error 22\)/i;

/** Maximum number of causes that are checked. */
const MAX_CAUSES = 4;

/**
 * Returns the exhausted resource, such as `Too many open files (os error 24)`; `null` for other failures.
 *
 * A lookup without a descriptor fails with the message for a name that does not exist (glibc), so for lookups it checks
 * whether a socket can be opened.
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
 * Runs an operation that begins with a name lookup; runs it again if the lookup failed and no resource is exhausted
 * now.
 *
 * The missing descriptor may be available again before {@linkcode resourceShortage} can check, and the failure would be
 * attributed to the server. A name that does not exist fails both times.
 *
 * @param signal no second attempt after it has aborted
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

/** Returns the resource that is missing for a new socket; `null` if none is, or the check is not permitted. */
export function socketShortage(): string | null {
  // Without the permission the runtime would prompt on the terminal.
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

// Number and limit of open files and sockets of the process.

/** Number of open descriptors; `null` if unknown (needs Linux and `-A`). */
export function openDescriptors(): number | null {
  return readSystem(() => [...Deno.readDirSync("/proc/self/fd")].length);
}

/** Maximum number of open descriptors; `null` if unknown (needs Linux and `-A`). */
export function descriptorLimit(): number | null {
  return readSystem(() => {
    const limit = /^Max open files\s+(\d+)/m.exec(Deno.readTextFileSync("/proc/self/limits"))?.[1];
    return limit === undefined ? null : Number(limit);
  });
}

function readSystem(read: () => number | null): number | null {
  // Without the permission the runtime would prompt on the terminal.
  if (Deno.permissions.querySync({ name: "read" }).state !== "granted") return null;
  try {
    return read();
  } catch {
    return null;
  }
}

/** A reserved descriptor that is closed when no other is left; has no effect without permission to read files. */
export class SpareDescriptor implements Disposable {
  readonly #allowed = Deno.permissions.querySync({ name: "read", path: SPARE }).state === "granted";
  #file: Deno.FsFile | null = null;
  #disposed = false;

  constructor() {
    this.open();
  }

  /** Opens the descriptor unless it is open; `false` if none is left. */
  open(): boolean {
    if (!this.#allowed || this.#disposed || this.#file !== null) return true;
    try {
      this.#file = Deno.openSync(SPARE);
      return true;
    } catch {
      return false;
    }
  }

  /** Closes the descriptor; returns whether it was open. */
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
