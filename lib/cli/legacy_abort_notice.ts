/** One notice of the runtime that says nothing to an operator. */

const NOTICE = "Deno.serve: request.signal aborts on successful responses (legacy behavior).";

/**
 * Drops the notice that Deno 2.9 prints once, by `console.warn`, when a request whose `signal` was used has been
 * has a response: the proxy uses the signal to hear of clients that go away, and knows that it also fires at the end.
 *
 * For the program only. In a library the notice may be about somebody else's code.
 */
export function dropLegacyAbortNotice(target: Pick<Console, "warn">): void {
  const warn = target.warn;
  target.warn = (...data: unknown[]) => {
    if (typeof data[0] === "string" && data[0].startsWith(NOTICE)) return;
    warn.apply(target, data);
  };
}
