// The signatures of @std/cli/parse-args, for its copy from npm, which has none.
//
// Calls infer what they infer with the original. Two things of the original are not described: option names with dots
// in them (`a.b` stands for a nested object there), and writing the type arguments out.

type Names = string | undefined;
type Flags = boolean | string | undefined;
type Alias = Partial<Record<string, string | readonly string[]>> | undefined;

/** The options of {@linkcode parseArgs}. */
export interface ParseOptions<
  Booleans extends Flags = Flags,
  Strings extends Names = Names,
  Collected extends Names = Names,
  Negatable extends Names = Names,
  Defaults extends Record<string, unknown> | undefined = Record<string, unknown> | undefined,
  Aliases extends Alias = Alias,
  DoubleDash extends boolean | undefined = boolean | undefined,
> {
  /** Put what follows `--` into the result's `--` instead of `_`. */
  "--"?: DoubleDash;
  /** Other names of an option. */
  alias?: Aliases;
  /** Options without a value; `true` makes all of them such. */
  boolean?: Booleans | readonly Extract<Booleans, string>[];
  /** Values of options that are not given. */
  default?: Defaults;
  /** Put everything after the first argument that is no option into `_`. */
  stopEarly?: boolean;
  /** Options whose value stays a string, whatever it looks like. */
  string?: Strings | readonly Extract<Strings, string>[];
  /** Options that may be given more than once. */
  collect?: Collected | readonly Extract<Collected, string>[];
  /** Options that `--no-NAME` sets to false. */
  negatable?: Negatable | readonly Extract<Negatable, string>[];
  /** Called with each option that is not described; `false` drops it. */
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

/** What {@linkcode parseArgs} returns. */
export type Args<
  // deno-lint-ignore no-explicit-any
  Values extends Record<string, unknown> = Record<string, any>,
  DoubleDash extends boolean | undefined = undefined,
> = Flat<Values & { _: Array<string | number> } & Rest<DoubleDash>>;

export declare function parseArgs<
  DoubleDash extends boolean | undefined = undefined,
  Booleans extends Flags = undefined,
  Strings extends Names = undefined,
  Collected extends Names = undefined,
  Negatable extends Names = undefined,
  Defaults extends Record<string, unknown> | undefined = undefined,
  const Aliases extends Alias = undefined,
>(
  args: string[],
  options?: ParseOptions<Booleans, Strings, Collected, Negatable, Defaults, Aliases, DoubleDash>,
): Args<Values<Booleans, Strings, Collected, Negatable, Defaults, Aliases>, DoubleDash>;

/** With no option described every property is `any`; otherwise those that are not described are `unknown`. */
type Values<
  Booleans extends Flags,
  Strings extends Names,
  Collected extends Names,
  Negatable extends Names,
  Defaults,
  Aliases,
> = [Described<Booleans> | Described<Strings> | Described<Collected>] extends [never]
  // deno-lint-ignore no-explicit-any
  ? Record<string, any>
  :
    & Record<string, unknown>
    & WithAliases<
      WithDefaults<
        Given<Described<Booleans>, Described<Strings>, Described<Collected>, Described<Negatable>>,
        Defaults
      >,
      Aliases
    >;

type Described<T> = Extract<T, string>;

/** The types of options before defaults: booleans and collected ones are always there, the others perhaps not. */
type Given<
  Booleans extends string,
  Strings extends string,
  Collected extends string,
  Negatable extends string,
> =
  & { [Name in Exclude<Booleans, Collected>]: boolean }
  & { [Name in Extract<Booleans, Collected>]: boolean[] }
  & { [Name in Exclude<Strings, Collected>]?: Negated<string, Name, Negatable> }
  & { [Name in Extract<Strings, Collected>]: Negated<string[], Name, Negatable> }
  & { [Name in Exclude<Collected, Booleans | Strings>]: Negated<unknown[], Name, Negatable> };

type Negated<Value, Name, Negatable> = Name extends Negatable ? Value | false : Value;

type WithDefaults<Options, Defaults> = Defaults extends Record<string, unknown> ?
    & Omit<Options, keyof Defaults>
    & {
      [Name in keyof Defaults]: Name extends keyof Options ? Defaults[Name] | NonNullable<Options[Name]>
        : unknown;
    }
  : Options;

type WithAliases<Options, Aliases> = {
  [Name in keyof Options as Name | AliasesOf<Name, Aliases>]: Options[Name];
};

type AliasesOf<Name, Aliases> = Name extends keyof Aliases
  ? Aliases[Name] extends readonly (infer Other extends string)[] ? Other : Extract<Aliases[Name], string>
  : never;

type Rest<DoubleDash> = boolean extends DoubleDash ? { "--"?: string[] }
  : true extends DoubleDash ? { "--": string[] }
  : Record<never, never>;

type Flat<T> = { [Key in keyof T]: T[Key] };
