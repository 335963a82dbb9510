/**
 * Declaration and validation of options, in every layer.
 *
 * The file with the type of some options has a {@linkcode Rule} for each of them. A rule reports problems and
 * continues, so that all problems are found at once; `lib/config` combines the rules, and adds the path of each
 * problem.
 */

import { BYTE_SIZE_EXPECTED, DURATION_EXPECTED, parseByteSize, parseDuration } from "./units.ts";
import { describeKind, describeValue, nearestName, normalizeName } from "./describe_value.ts";

/** Names of options and positions in arrays, from the validated value on. */
export type OptionPath = readonly (string | number)[];

/** Reports a problem: the accepted and the received value, to be read after the path. */
export interface Report {
  (message: string, ...path: OptionPath): void;
  /** Reports a valid value that is probably not intended; absent if no warnings are wanted. */
  readonly warn?: (message: string, ...path: OptionPath) => void;
}

/** Validates a value. Changes nothing and throws nothing. */
export interface Rule {
  (value: unknown, report: Report): void;
}

/** The rule of a required option. */
interface RequiredRule extends Rule {
  readonly required: true;
}

/** A rule for each option; required options need a {@linkcode required} rule. */
export type Rules<Options> = {
  readonly [Name in keyof Options]-?: Record<never, never> extends Pick<Options, Name> ? Rule : RequiredRule;
};

/** Options before validation. */
export type Unchecked<Options> = { readonly [Name in keyof Options]?: unknown };

/** Additional settings of {@linkcode object}. */
interface ObjectRule<Options> {
  /** Checks combinations of options. */
  readonly check?: (options: Unchecked<Options>, report: Report) => void;
  /** Explains an unknown name, or where it belongs; no result for the usual message. */
  readonly explain?: (name: string) => string | undefined;
  /** Names of the options in other programs. */
  readonly otherNames?: { readonly [Name in keyof Options]?: readonly string[] };
}

/** Whether the value is an object with keys: not an array, a function or a promise. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Promise);
}

/** Whether the value is an integer in a range, bounds included. */
export function isWhole(value: unknown, least: number, most: number): value is number {
  return Number.isSafeInteger(value) && value as number >= least && value as number <= most;
}

/** Lists alternatives: `"a" or "b"`, `one of "a", "b", "c"`. */
export function oneOf(words: readonly string[]): string {
  const quoted = words.map((word) => `"${word}"`);
  return quoted.length < 3 ? quoted.join(" or ") : `one of ${quoted.join(", ")}`;
}

/** The message for an unknown name. */
export function unknownName(name: string, known: readonly string[]): string {
  const nearest = nearestName(name, known);
  if (nearest !== undefined) return `is not a known key, did you mean "${nearest}"?`;
  return `is not a known key; known are ${known.map((each) => `"${each}"`).join(", ")}`;
}

/** A suggestion for a misspelt word, to end a message; words with different numbers are different words. */
function suggestion(value: unknown, words: readonly string[]): string {
  const nearest = typeof value === "string" ? nearestName(value, words) : undefined;
  if (nearest === undefined || numberIn(nearest) !== numberIn(String(value))) return "";
  return `, did you mean "${nearest}"?`;
}

function numberIn(text: string): string {
  return text.replaceAll(/\D/g, "");
}

/** A report for a nested value. */
export function within(report: Report, ...steps: OptionPath): Report {
  const inner: Report = (message, ...path) => report(message, ...steps, ...path);
  const { warn } = report;
  if (warn === undefined) return inner;
  return Object.assign(inner, {
    warn: (message: string, ...path: OptionPath) => warn(message, ...steps, ...path),
  });
}

/** Reports that a value is invalid. */
export function reject(value: unknown, expected: string, report: Report): void {
  report(`must be ${expected}, received ${describeValue(value)}`);
}

/** A value that passes a test; the expected value may depend on the received one. */
export function must(
  test: (value: unknown) => boolean,
  expected: string | ((value: unknown) => string),
): Rule {
  return (value, report) => {
    if (!test(value)) reject(value, typeof expected === "string" ? expected : expected(value), report);
  };
}

/** The same for secrets: keys, certificates and passwords must not be in messages. */
export function mustSecretly(test: (value: unknown) => boolean, expected: string): Rule {
  return (value, report) => {
    if (!test(value)) report(`must be ${expected}, received ${describeKind(value)}`);
  };
}

const PEM_BEGINS = {
  "certificate": /-----BEGIN (?:TRUSTED )?CERTIFICATE-----/,
  "private key": /-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----/,
};

/** PEM text; the name of a file, a frequent mistake, is rejected. */
export function pem(label: keyof typeof PEM_BEGINS): Rule {
  return mustSecretly(
    (value) => typeof value === "string" && PEM_BEGINS[label].test(value),
    `the PEM text of a ${label}, as Deno.readTextFileSync(PATH) reads it`,
  );
}

/** PEM text of the right kind, or a possible path of a file. */
export function pemOrPath(label: keyof typeof PEM_BEGINS): Rule {
  return mustSecretly(
    (value) =>
      typeof value === "string" &&
      (value.includes("-----BEGIN") ? PEM_BEGINS[label].test(value) : /^[^\r\n\0]{1,4096}$/.test(value)),
    `the PEM text of a ${label}, or the path of a file with it`,
  );
}

/** Marks a rule as the rule of a required option. */
export function required(rule: Rule): RequiredRule {
  return Object.assign((value: unknown, report: Report) => rule(value, report), { required: true as const });
}

/** The description of the value that a rule accepts; `null` if its messages are about parts of the value. */
function expectedBy(rule: Rule): string | null {
  const problems: string[] = [];
  rule(undefined, (problem, ...path) => problems.push(path.length === 0 ? problem : ""));
  return /^must be (.+), received [^,]+$/s.exec(problems[0] ?? "")?.[1] ?? null;
}

/** Any value. */
export const ANYTHING: Rule = (): void => {};
export const FLAG: Rule = must((value) => typeof value === "boolean", "true or false");
export const FUNCTION: Rule = must((value) => typeof value === "function", "a function");

/** A text that passes a test. */
export function text(expected: string, test: (value: string) => boolean = () => true): Rule {
  return must((value) => typeof value === "string" && test(value), expected);
}

/** One of several words. */
export function word(words: readonly string[]): Rule {
  return (value, report) => {
    if (words.includes(value as string)) return;
    report(`must be ${oneOf(words)}, received ${describeValue(value)}${suggestion(value, words)}`);
  };
}

/** One of several words, or a function. */
export function wordOrFunction(words: readonly string[]): Rule {
  return (value, report) => {
    if (typeof value === "function" || words.includes(value as string)) return;
    const received = `${describeValue(value)}${suggestion(value, words)}`;
    report(`must be ${oneOf(words)}, or a function, received ${received}`);
  };
}

/** An integer in a range, bounds included. */
export function whole(least: number, most: number = Number.MAX_SAFE_INTEGER): Rule {
  const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`;
  return must((value) => isWhole(value, least, most), `a whole number ${range}`);
}

/** An integer, or `Infinity` for no limit. */
export function wholeOrInfinity(least: number): Rule {
  return must(
    (value) => value === Infinity || isWhole(value, least, Infinity),
    `a whole number of at least ${least}, or Infinity`,
  );
}

/** A number that passes a test; never NaN, for which all comparisons are false. */
export function number(expected: string, test: (value: number) => boolean): Rule {
  return must((value) => typeof value === "number" && test(value), expected);
}

/** A share. */
export const SHARE: Rule = number("a number from 0 to 1", (value) => value >= 0 && value <= 1);
/** A share above zero. */
export const SHARE_ABOVE_0: Rule = number(
  "a number above 0 and at most 1",
  (value) => value > 0 && value <= 1,
);
/** A TCP port for connections. */
export const PORT: Rule = whole(1, 65535);

/** Any duration, including zero. */
export const DURATION: Rule = duration(() => true, "");
/** A duration above zero. */
export const DURATION_ABOVE_0: Rule = duration((ms) => ms > 0, "longer than 0");

/**
 * A duration that passes a test.
 *
 * @param expected description for a duration that does not pass
 * @param seconds numbers below this were probably meant as seconds, which gives a warning
 */
export function duration(test: (ms: number) => boolean, expected: string, seconds = 100): Rule {
  return (value, report) => {
    const ms = parseDuration(value);
    if (ms === undefined) return reject(value, DURATION_EXPECTED, report);
    if (!test(ms)) return reject(value, expected, report);
    if (typeof value === "string" || ms === 0 || ms >= seconds) return;
    report.warn?.(`is ${ms} milliseconds; write "${ms}s" for seconds, or "${ms}ms" if that is meant`);
  };
}

/** A size in a range, bounds included. */
export function byteSize(least = 0, most = Infinity): Rule {
  const range = most === Infinity ? least === 0 ? "" : ` of at least ${least}` : `, from ${least} to ${most}`;
  return must((value) => {
    const bytes = parseByteSize(value);
    return bytes !== undefined && bytes >= least && bytes <= most;
  }, BYTE_SIZE_EXPECTED + range);
}

/** PEM texts of authorities; another value may be a secret too. */
export const AUTHORITIES: Rule = choose((value) =>
  Array.isArray(value)
    ? list(pem("certificate"), "", "an array of at least one PEM text")
    : mustSecretly(() => false, "an array of PEM texts")
);

/** An array. @param least description for an empty array, if it must not be empty */
export function list(each: Rule, expected: string, least?: string): Rule {
  return (value, report) => {
    if (!Array.isArray(value)) return reject(value, expected, report);
    if (value.length === 0 && least !== undefined) reject(value, least, report);
    // By index, so that holes are validated too.
    for (let i = 0; i < value.length; i++) each(value[i], within(report, i));
  };
}

/** A value, or an array with at least one. */
export function oneOrMore(each: Rule, expected: string): Rule {
  const several = list(each, expected, `${expected}, or an array of at least one`);
  return (value, report) => (Array.isArray(value) ? several : each)(value, report);
}

/** An object with names chosen by the user. @param name finds problems of a name */
export function byName(
  each: Rule,
  expected: string,
  name: (name: string) => string | undefined = () => undefined,
): Rule {
  return (value, report) => {
    if (!isRecord(value)) return reject(value, expected, report);
    for (const [key, entry] of Object.entries(value)) {
      const problem = name(key);
      if (problem !== undefined) report(problem, key);
      else each(entry, within(report, key));
    }
  };
}

/** A rule that depends on the value. */
export function choose(rule: (value: unknown) => Rule): Rule {
  return (value, report) => rule(value)(value, report);
}

/** `false`, or a value for another rule. */
export function orFalse(rule: Rule): Rule {
  return choose((value) => value === false ? ANYTHING : rule);
}

/** `true`, `false`, or a value for another rule. */
export function orFlag(rule: Rule): Rule {
  return choose((value) => typeof value === "boolean" ? ANYTHING : rule);
}

/**
 * An object with the given options and no others.
 *
 * The value of a misspelt option is validated under its correct name, and a required option then does not count as
 * missing: otherwise its problems would only be found on the next run. The same holds for names of other programs.
 *
 * @param expected description of the object, for the message if it is missing: `an object with "servers"`
 */
export function object<Options>(
  rules: Rules<Options>,
  expected: string,
  { check, explain, otherNames = {} }: ObjectRule<Options> = {},
): Rule {
  const known = Object.entries<Rule>(rules);
  const names = known.map(([name]) => name);
  const optionByOtherName = new Map(
    Object.entries<readonly string[] | undefined>(otherNames).flatMap(([name, others = []]) =>
      others.map((other) => [normalizeName(other), name] as const)
    ),
  );
  return (value, report) => {
    if (!isRecord(value)) return reject(value, expected, report);
    const unknown = Object.keys(value).filter((name) => !Object.hasOwn(rules, name)).map((name) => {
      const option = optionByOtherName.get(normalizeName(name));
      const elsewhere = option === undefined
        ? undefined
        : `is not a known key; here it is called "${option}"`;
      const explained = explain?.(name) ?? elsewhere;
      return { name, explained, meant: explained === undefined ? nearestName(name, names) : option };
    });
    for (const [name, rule] of known) {
      if (value[name] !== undefined) rule(value[name], within(report, name));
      else if ("required" in rule && !unknown.some(({ meant }) => meant === name)) {
        const expected = expectedBy(rule);
        report(expected === null ? "is required" : `is required: ${expected}`, name);
      }
    }
    for (const { name, explained, meant } of unknown) {
      report(explained ?? unknownName(name, names), name);
      if (explained !== undefined || meant === undefined) continue;
      if (value[meant] !== undefined || value[name] === undefined) continue;
      rules[meant as keyof Options](value[name], within(report, name));
    }
    const renamed = unknown.flatMap(({ name, meant }) => meant === undefined ? [] : [[meant, value[name]]]);
    const intended = renamed.length === 0 ? value : { ...Object.fromEntries(renamed), ...value };
    check?.(intended as Unchecked<Options>, report);
  };
}

/** An object whose options depend on its `type`, with an invalid type: only the type is validated. */
export function ofType(type: Rule): Rule {
  return (value, report) => type((value as { type?: unknown }).type, within(report, "type"));
}

/** Two options that require each other, such as a certificate and its key. */
export function needEachOther<Name extends string>(
  first: Name,
  second: Name,
): (options: { readonly [Each in Name]?: unknown }, report: Report) => void {
  return (options, report) => {
    for (const [present, missing] of [[first, second], [second, first]] as const) {
      if (options[present] === undefined || options[missing] !== undefined) continue;
      report(`is required with "${present}"`, missing);
    }
  };
}

/** A problem of options. */
interface OptionProblem {
  /** Path as in code: `upstreams.servers[1]`; `""` for the whole value. */
  readonly path: string;
  /** The accepted and the received value, to be read after the path. */
  readonly message: string;
}

/** Lists all problems of a value; empty if it is valid. */
export function findProblems(rule: Rule, value: unknown): readonly OptionProblem[] {
  const problems: OptionProblem[] = [];
  rule(value, (message, ...path) => problems.push({ path: formatPath(path), message }));
  return problems;
}

/** Lists parts of a valid value that are probably not intended. */
export function findDoubts(rule: Rule, value: unknown): readonly OptionProblem[] {
  const doubts: OptionProblem[] = [];
  const report: Report = Object.assign(() => {}, {
    warn: (message: string, ...path: OptionPath) => doubts.push({ path: formatPath(path), message }),
  });
  rule(value, report);
  return doubts;
}

/**
 * Validates options passed by a program.
 *
 * @param task the task that fails with invalid options: `make the filter cors`
 * @param subject name of the options as a whole
 * @throws {TypeError} when the options are invalid; the message lists all problems
 */
export function checkOptions(task: string, rule: Rule, value: unknown, subject = "the options"): void {
  const problems = findProblems(rule, value);
  if (problems.length === 0) return;
  const list = problems.map(({ path, message }) =>
    path === "" ? `${subject} ${message}` : `"${path}" ${message}`
  );
  throw new TypeError(`Cannot ${task}: ${list.join("; ")}`);
}

/** Formats a path as in code: `upstreams.servers[1]`, `upstreams["a b"].tls`. */
function formatPath(keys: OptionPath): string {
  let path = "";
  for (const key of keys) {
    if (typeof key === "number") path += `[${key}]`;
    else if (!/^[\p{ID_Start}$_][\p{ID_Continue}$-]*$/u.test(key)) path += `[${JSON.stringify(key)}]`;
    else path += path === "" ? key : `.${key}`;
  }
  return path;
}
