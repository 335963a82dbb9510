/** Fields in the form in which the runtime takes them at the least cost. */

/**
 * Turns name, value, name, value, ... into what `new Response` takes: an object where that says the same, otherwise
 * pairs.
 *
 * Pairs cost the runtime an iterator each: 1.7 KB and a microsecond for four fields, measured with Deno 2.9.6. An
 * object cannot have a name twice, puts names that are numbers first, and has names of its own (`constructor`).
 */
export function headersInit(list: readonly string[]): Record<string, string> | [string, string][] {
  const fields: Record<string, string> = {};
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!;
    if (fields[name] !== undefined || isDigit(name.charCodeAt(0))) return toPairs(list);
    fields[name] = list[i + 1]!;
  }
  return fields;
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}

function toPairs(list: readonly string[]): [string, string][] {
  const pairs: [string, string][] = [];
  for (let i = 0; i < list.length; i += 2) pairs.push([list[i]!, list[i + 1]!]);
  return pairs;
}
