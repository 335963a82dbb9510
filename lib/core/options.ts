/**
 * How options are declared and checked, in every layer.
 *
 * The file that owns options has a {@linkcode Rule} for each of them, next to its type. A rule reports what is wrong and goes on, so that
 * everything is found at once; `lib/config` puts the rules together, and names the place of each problem.
 */

import { BYTE_SIZE_EXPECTED, DURATION_EXPECTED, parseByteSize, parseDuration } from "./units.ts";
import { describeKind, describeValue, nearestName, normalizeName } from "./describe_value.ts";

/** Names of options and positions in arrays, from the value that is checked on. */
export type OptionPath = readonly (string | number)[];

/** Takes a problem: what is accepted and what was received, to be read after the path. */
export interface Report {
  (message: string, ...path: OptionPath): void;
  /** Takes what is allowed and probably not meant; not there where nobody wants to know. */
  readonly warn?: (message: string, ...path: OptionPath) => void;
}

/** Checks a value. Nothing is changed, and nothing is thrown. */
export interface Rule {
  (value: unknown, report: Report): void;
}

/** The rule of an option that has to be there. */
interface RequiredRule extends Rule {
  readonly required: true;
}

/** A rule for each option; those that the type requires say so too. */
export type Rules<Options> = {
  readonly [Name in keyof Options]-?: Record<never, never> extends Pick<Options, Name> ? Rule : RequiredRule;
};

/** Options before they are known to be good. */
export type Unchecked<Options> = { readonly [Name in keyof Options]?: unknown };

/** What {@linkcode object} takes in addition to its options. */
interface ObjectRule<Options> {
  /** Finds options that exclude or need each other. */
  readonly check?: (options: Unchecked<Options>, report: Report) => void;
  /** Says of a name that is no option why that is so, or where it belongs; nothing where the usual message will do. */
  readonly explain?: (name: string) => string | undefined;
  /** What other programs call the options. */
  readonly otherNames?: { readonly [Name in keyof Options]?: readonly string[] };
}

/** Whether the value is an object with keys: neither an array nor a function, nor one that comes later. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Promise);
}

/** Whether it is a whole number between two others, both included. */
export function isWhole(value: unknown, least: number, most: number): value is number {
  return Number.isSafeInteger(value) && value as number >= least && value as number <= most;
}

/** Writes words that one can choose from: `"a" or "b"`, `one of "a", "b", "c"`. */
export function oneOf(words: readonly string[]): string {
  const quoted = words.map((word) => `"${word}"`);
  return quoted.length < 3 ? quoted.join(" or ") : `one of ${quoted.join(", ")}`;
}

/** What is said of a name that is no option. */
export function unknownName(name: string, known: readonly string[]): string {
  const nearest = nearestName(name, known);
  if (nearest !== undefined) return `is not a known key, did you mean "${nearest}"?`;
  return `is not a known key; known are ${known.map((each) => `"${each}"`).join(", ")}`;
}

/** Ends a message about one of some words with the one that was probably meant; another number is another word. */
function suggestion(value: unknown, words: readonly string[]): string {
  const nearest = typeof value === "string" ? nearestName(value, words) : undefined;
  if (nearest === undefined || numberIn(nearest) !== numberIn(String(value))) return "";
  return `, did you mean "${nearest}"?`;
}

function numberIn(text: string): string {
  return text.replaceAll(/\D/g, "");
}

/** The same place one step further in. */
export function within(report: Report, ...steps: OptionPath): Report {
  const inner: Report = (message, ...path) => report(message, ...steps, ...path);
  const { warn } = report;
  if (warn === undefined) return inner;
  return Object.assign(inner, {
    warn: (message: string, ...path: OptionPath) => warn(message, ...steps, ...path),
  });
}

/** Says that a value has to be something else. */
export function reject(value: unknown, expected: string, report: Report): void {
  report(`must be ${expected}, received ${describeValue(value)}`);
}

/** A value that passes a test; what is expected may depend on what was received. */
export function must(
  test: (value: unknown) => boolean,
  expected: string | ((value: unknown) => string),
): Rule {
  return (value, report) => {
    if (!test(value)) reject(value, typeof expected === "string" ? expected : expected(value), report);
  };
}

/** The same for what is secret: keys, certificates and passwords have no business in a message. */
export function mustSecretly(test: (value: unknown) => boolean, expected: string): Rule {
  return (value, report) => {
    if (!test(value)) report(`must be ${expected}, received ${describeKind(value)}`);
  };
}

const PEM_BEGINS = {
  "certificate": /-----BEGIN (?:TRUSTED )?CERTIFICATE-----/,
  "private key": /-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----/,
};

/** The PEM text of something; the name of a file, which is what many write instead, is refused. */
export function pem(label: keyof typeof PEM_BEGINS): Rule {
  return mustSecretly(
    (value) => typeof value === "string" && PEM_BEGINS[label].test(value),
    `the PEM text of a ${label}, as Deno.readTextFileSync(PATH) reads it`,
  );
}

/** PEM text that begins as it has to, or what can only be the path of a file. */
export function pemOrPath(label: keyof typeof PEM_BEGINS): Rule {
  return mustSecretly(
    (value) =>
      typeof value === "string" &&
      (value.includes("-----BEGIN") ? PEM_BEGINS[label].test(value) : /^[^\r\n\0]{1,4096}$/.test(value)),
    `the PEM text of a ${label}, or the path of a file with it`,
  );
}

/** Makes a rule that of an option that has to be there. */
export function required(rule: Rule): RequiredRule {
  return Object.assign((value: unknown, report: Report) => rule(value, report), { required: true as const });
}

/** What a rule accepts, in its own words; `null` where these are about parts of the value. */
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

/** One of some words. */
export function word(words: readonly string[]): Rule {
  return (value, report) => {
    if (words.includes(value as string)) return;
    report(`must be ${oneOf(words)}, received ${describeValue(value)}${suggestion(value, words)}`);
  };
}

/** One of some words, or a function. */
export function wordOrFunction(words: readonly string[]): Rule {
  return (value, report) => {
    if (typeof value === "function" || words.includes(value as string)) return;
    const received = `${describeValue(value)}${suggestion(value, words)}`;
    report(`must be ${oneOf(words)}, or a function, received ${received}`);
  };
}

/** A whole number between two others, both included. */
export function whole(least: number, most: number = Number.MAX_SAFE_INTEGER): Rule {
  const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`;
  return must((value) => isWhole(value, least, most), `a whole number ${range}`);
}

/** A whole number, or `Infinity` for no limit. */
export function wholeOrInfinity(least: number): Rule {
  return must(
    (value) => value === Infinity || isWhole(value, least, Infinity),
    `a whole number of at least ${least}, or Infinity`,
  );
}

/** A number that passes a test; never NaN, of which no comparison is true. */
export function number(expected: string, test: (value: number) => boolean): Rule {
  return must((value) => typeof value === "number" && test(value), expected);
}

/** A share of something. */
export const SHARE: Rule = number("a number from 0 to 1", (value) => value >= 0 && value <= 1);
/** A share of something that is not nothing. */
export const SHARE_ABOVE_0: Rule = number(
  "a number above 0 and at most 1",
  (value) => value > 0 && value <= 1,
);
/** A TCP port that can be connected to. */
export const PORT: Rule = whole(1, 65535);

/** Any length of time, zero too. */
export const DURATION: Rule = duration(() => true, "");
/** A length of time above zero. */
export const DURATION_ABOVE_0: Rule = duration((ms) => ms > 0, "longer than 0");

/**
 * A length of time that passes a test.
 *
 * @param expected what is said of a length that does not
 * @param seconds whole numbers below this one are taken for seconds that somebody meant, of which there is a warning
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

/** A size between two others, both included. */
export function byteSize(least = 0, most = Infinity): Rule {
  const range = most === Infinity ? least === 0 ? "" : ` of at least ${least}` : `, from ${least} to ${most}`;
  return must((value) => {
    const bytes = parseByteSize(value);
    return bytes !== undefined && bytes >= least && bytes <= most;
  }, BYTE_SIZE_EXPECTED + range);
}

/** PEM texts of authorities; what is no array may be a secret as well. */
export const AUTHORITIES: Rule = choose((value) =>
  Array.isArray(value)
    ? list(pem("certificate"), "", "an array of at least one PEM text")
    : mustSecretly(() => false, "an array of PEM texts")
);

/** An array. @param least what is said of an empty one, where it must not be */
export function list(each: Rule, expected: string, least?: string): Rule {
  return (value, report) => {
    if (!Array.isArray(value)) return reject(value, expected, report);
    if (value.length === 0 && least !== undefined) reject(value, least, report);
    // Places that were left out are looked at too.
    for (let i = 0; i < value.length; i++) each(value[i], within(report, i));
  };
}

/** A value, or an array of at least one. */
export function oneOrMore(each: Rule, expected: string): Rule {
  const several = list(each, expected, `${expected}, or an array of at least one`);
  return (value, report) => (Array.isArray(value) ? several : each)(value, report);
}

/** An object whose keys are names that its author chooses. @param name finds what is wrong with a name */
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

/** The rule that a value is under depends on the value. */
export function choose(rule: (value: unknown) => Rule): Rule {
  return (value, report) => rule(value)(value, report);
}

/** `false`, or what another rule says. */
export function orFalse(rule: Rule): Rule {
  return choose((value) => value === false ? ANYTHING : rule);
}

/** `true`, `false`, or what another rule says. */
export function orFlag(rule: Rule): Rule {
  return choose((value) => typeof value === "boolean" ? ANYTHING : rule);
}

/**
 * An object with the given options and no others.
 *
 * What stands in an option that is misspelt is checked as if it were not, and a required one is not missed then: its problems
 * would only be found the next time. An option with the name that another program gives it is not missed either.
 *
 * @param expected what the object is, for the message when there is none: `an object with "servers"`
 */
export function object<Options>(
  rules: Rules<Options>,
  expected: string,
  { check, explain, otherNames = {} }: ObjectRule<Options> = {},
): Rule {
  const known = Object.entries<Rule>(rules);
  const names = known.map(([name]) => name);
  const called = new Map(
    Object.entries<readonly string[] | undefined>(otherNames).flatMap(([name, others = []]) =>
      others.map((other) => [normalizeName(other), name] as const)
    ),
  );
  return (value, report) => {
    if (!isRecord(value)) return reject(value, expected, report);
    const unknown = Object.keys(value).filter((name) => !Object.hasOwn(rules, name)).map((name) => {
      const option = called.get(normalizeName(name));
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

/** An object of which other options are only known once its `type` is; that is the rule it gets for now. */
export function ofType(type: Rule): Rule {
  return (value, report) => type((value as { type?: unknown }).type, within(report, "type"));
}

/** Two options of which neither is of use without the other, as a certificate and its key. */
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

/** Something wrong with options. */
interface OptionProblem {
  /** Where, as it would stand in code: `upstreams.servers[1]`; `""` for the whole. */
  readonly path: string;
  /** What is accepted and what was received, to be read after the path. */
  readonly message: string;
}

/** Lists everything that is wrong with a value; empty when nothing is. */
export function findProblems(rule: Rule, value: unknown): readonly OptionProblem[] {
  const problems: OptionProblem[] = [];
  rule(value, (message, ...path) => problems.push({ path: formatPath(path), message }));
  return problems;
}

/** Lists what is allowed in a value and probably not meant. */
export function findDoubts(rule: Rule, value: unknown): readonly OptionProblem[] {
  const doubts: OptionProblem[] = [];
  const report: Report = Object.assign(() => {}, {
    warn: (message: string, ...path: OptionPath) => doubts.push({ path: formatPath(path), message }),
  });
  rule(value, report);
  return doubts;
}

/**
 * Checks options that a program passes.
 *
 * @param task what cannot be done with bad ones: `make the filter cors`
 * @param subject what they are together
 * @throws {TypeError} when anything is wrong with them, listing all of it
 */
export function checkOptions(task: string, rule: Rule, value: unknown, subject = "the options"): void {
  const problems = findProblems(rule, value);
  if (problems.length === 0) return;
  const list = problems.map(({ path, message }) =>
    path === "" ? `${subject} ${message}` : `"${path}" ${message}`
  );
  throw new TypeError(`Cannot ${task}: ${list.join("; ")}`);
}

/** Writes a path the way it would stand in code: `upstreams.servers[1]`, `upstreams["a b"].tls`. */
function formatPath(keys: OptionPath): string {
  let path = "";
  for (const key of keys) {
    if (typeof key === "number") path += `[${key}]`;
    else if (!/^[\p{ID_Start}$_][\p{ID_Continue}$-]*$/u.test(key)) path += `[${JSON.stringify(key)}]`;
    else path += path === "" ? key : `.${key}`;
  }
  return path;
}
