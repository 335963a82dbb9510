/** Several functions one after the other, without a promise as long as none of them gives one. */

/** A function of a phase. */
export type Step<Subject, Context> = (subject: Subject, ctx: Context) => unknown;

/**
 * Makes one function of several.
 *
 * @param stops whether the first one that gives anything has the last word; otherwise what they give does not matter
 */
export function stepsInTurn<Subject, Context>(
  steps: readonly Step<Subject, Context>[],
  stops: boolean,
): Step<Subject, Context> {
  const run = (from: number, subject: Subject, ctx: Context): unknown => {
    for (let i = from; i < steps.length; i++) {
      const result = steps[i]!(subject, ctx);
      if (result instanceof Promise) return resume(i + 1, subject, ctx, result);
      if (stops && result !== undefined && result !== null) return result;
    }
    return undefined;
  };
  const resume = async (next: number, subject: Subject, ctx: Context, pending: Promise<unknown>) => {
    const result = await pending;
    if (stops && result !== undefined && result !== null) return result;
    return await run(next, subject, ctx);
  };
  return (subject, ctx) => run(0, subject, ctx);
}
