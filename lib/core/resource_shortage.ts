/** Whether something failed because this process or machine has run out of what it takes. */

/** Descriptors, buffers, memory, and local ports: whoever was to be reached has no part in these. */
const CODES: ReadonlySet<unknown> = new Set(["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EADDRNOTAVAIL"]);

/** The same in the texts of `fetch` and of the resolver, which have no code; the URL in them has no spaces. */
const TEXTS =
  /\b(?:too many open files|no buffer space available|cannot allocate memory|can(?:no|')t assign requested address)\b[^()]*\(os error \d+\)/i;

/** A failed lookup of a name. */
const LOOKUP = /lookup address information|getaddrinfo|dns error/i;

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
