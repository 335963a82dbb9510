/** What a route asks of a request beside host and path. */

import { listOf, type RoutedRequest, type RouteMatch } from "./route_match.ts";

type FieldTest = (value: string | null) => boolean;

/** Conditions on method and fields; `null` when there are none. */
export type Conditions = ((request: RoutedRequest) => boolean) | null;

/** Makes the test of a route's conditions. */
export function compileConditions({ method, headers = {} }: RouteMatch): Conditions {
  const methods = listOf(method);
  const fields = Object.entries(headers).map(([name, wanted]): [string, FieldTest] => [
    name.toLowerCase(),
    compileField(wanted),
  ]);
  if (methods === null && fields.length === 0) return null;
  return (request) => {
    if (methods !== null && !methods.includes(request.method)) return false;
    for (const [name, test] of fields) {
      if (!test(request.fields.get(name))) return false;
    }
    return true;
  };
}

function compileField(wanted: string | boolean | RegExp): FieldTest {
  if (typeof wanted === "boolean") return (value) => (value !== null) === wanted;
  if (typeof wanted === "string") return (value) => value === wanted;
  // Without the flags by which a pattern remembers where it was.
  const pattern = new RegExp(wanted.source, wanted.flags.replace(/[gy]/g, ""));
  return (value) => value !== null && pattern.test(value);
}
