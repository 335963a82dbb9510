/** Reads interfaces of options from `deno doc --json`. */

/** One option, as documented in its interface. */
export interface DocumentedOption {
  readonly name: string;
  readonly type: string;
  /** As written in the docstring; `""` for required options, and for options without a default. */
  readonly defaultValue: string;
  readonly required: boolean;
  /** The first sentence. */
  readonly summary: string;
  /** The text after the first sentence. */
  readonly details: string;
}

interface DocType {
  readonly repr?: string;
  readonly kind: string;
  // deno-lint-ignore no-explicit-any -- the shape depends on `kind`
  readonly value: any;
}

interface DocText {
  readonly doc?: string;
  readonly tags?: readonly { readonly kind: string; readonly value?: string; readonly doc?: string }[];
}

interface DocMember {
  readonly name: string;
  readonly jsDoc?: DocText;
  readonly optional?: boolean;
  readonly tsType?: DocType;
  readonly params?: readonly DocParameter[];
  readonly returnType?: DocType;
}

interface DocParameter {
  readonly name?: string;
  readonly optional?: boolean;
  readonly tsType?: DocType;
}

interface DocDeclaration {
  readonly kind: string;
  /** The file, as a URL. */
  readonly location: { readonly filename: string };
  readonly jsDoc?: DocText;
  readonly def: {
    readonly properties?: readonly DocMember[];
    readonly methods?: readonly DocMember[];
    readonly extends?: readonly DocType[];
    readonly tsType?: DocType;
  };
}

/** The public names of a module with their declarations. */
export type DocSymbols = ReadonlyMap<string, DocDeclaration>;

/** Reads the documentation of a module with `deno doc`. */
export async function readSymbols(module: string, cwd: string): Promise<DocSymbols> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["doc", "--json", module],
    env: { NO_COLOR: "1" },
    cwd,
  }).output();
  if (!success) {
    throw new Error(`Cannot read the documentation of ${module}: ${new TextDecoder().decode(stderr)}`);
  }
  const { nodes } = JSON.parse(new TextDecoder().decode(stdout));
  const symbols = new Map<string, DocDeclaration>();
  for (
    const { symbols: found } of Object.values(nodes) as {
      symbols: { name: string; declarations: DocDeclaration[] }[];
    }[]
  ) {
    for (const { name, declarations } of found) symbols.set(name, declarations[0]!);
  }
  return symbols;
}

/**
 * The options of an interface, or of a type composed of several; inherited options first.
 *
 * @param name name of the type; with an option after a dot, the options of that option: `ListenOptions.timeouts`
 * @throws {Error} when there is no public type, or no option, with that name
 */
export function optionsOf(symbols: DocSymbols, name: string): DocumentedOption[] {
  const [type, member] = name.split(".");
  const declaration = symbols.get(type!);
  if (declaration === undefined) {
    throw new Error(`Cannot list the options of ${name}: mod.ts exports no such type`);
  }
  if (member !== undefined) {
    const { tsType } = lineage(symbols, type!).flatMap((each) => symbols.get(each)?.def.properties ?? [])
      .find((each) => each.name === member) ?? {};
    if (tsType === undefined) throw new Error(`Cannot list the options of ${name}: there is no such option`);
    return optionsIn(symbols, tsType);
  }
  const { extends: parents = [], properties = [], methods = [], tsType } = declaration.def;
  const own = [...properties, ...methods].map((each) => documented(symbols, each));
  return merge(
    [...parents, ...tsType === undefined ? [] : [tsType]].map((each) => optionsIn(symbols, each)),
    own,
  );
}

/** A type, and the types that it extends. */
export function lineage(symbols: DocSymbols, name: string): string[] {
  const { extends: parents = [] } = symbols.get(name)?.def ?? {};
  return [name, ...parents.flatMap(({ value }) => lineage(symbols, String(value?.typeName)))];
}

function optionsIn(symbols: DocSymbols, { kind, value }: DocType): DocumentedOption[] {
  switch (kind) {
    case "parenthesized":
      return optionsIn(symbols, value);
    case "intersection":
      return merge((value as DocType[]).map((type) => optionsIn(symbols, type)), []);
    case "union": {
      const variants = (value as DocType[]).filter(({ kind }) => kind !== "literal" && kind !== "keyword")
        .map((type) => optionsIn(symbols, type));
      const everywhere = (name: string) =>
        variants.every((variant) => variant.some((option) => option.name === name));
      return merge(variants, []).map((option) => ({
        ...option,
        required: option.required && everywhere(option.name),
      }));
    }
    case "typeLiteral":
      return (value.properties as DocMember[]).map((member) => documented(symbols, member));
    case "typeRef": {
      const { typeName, typeParams } = value;
      if (typeName !== "Omit" && typeName !== "Partial") {
        return symbols.has(typeName) ? optionsOf(symbols, typeName) : [];
      }
      const left = optionsIn(symbols, typeParams[0]);
      const gone = typeName === "Omit" ? formatType(symbols, typeParams[1]) : "";
      return left.filter((option) => !gone.includes(JSON.stringify(option.name)));
    }
    default:
      return [];
  }
}

/** Each option once: the union of its types, and the first description. */
function merge(
  inherited: readonly DocumentedOption[][],
  own: readonly DocumentedOption[],
): DocumentedOption[] {
  const merged = new Map<string, DocumentedOption>();
  for (const option of inherited.flat()) {
    const before = merged.get(option.name);
    if (before === undefined) merged.set(option.name, option);
    else {
      const types = new Set([...before.type.split(" | "), ...option.type.split(" | ")]);
      const described = before.summary === "" ? option : before;
      merged.set(option.name, {
        ...described,
        required: before.required && option.required,
        type: [...types].join(" | "),
      });
    }
  }
  for (const option of own) merged.set(option.name, option);
  return [...merged.values()];
}

function documented(symbols: DocSymbols, member: DocMember): DocumentedOption {
  const { doc = "", tags = [] } = member.jsDoc ?? {};
  const inText = /@default \{(.*?)\}(?=\s|$)([^@]*)/s.exec(doc);
  const tag = tags.find(({ kind }) => kind === "default");
  const given = inText === null
    // `deno doc` ends a tag at the first brace.
    ? [literal(tag?.value === "{" ? "{}" : tag?.value ?? ""), (tag?.doc ?? "").replace(/^\}/, "")]
    : [literal(inText[1]!), inText[2]!];
  const text = plain(doc.replace(/@default \{.*?\}(?=\s|$)[^@]*/s, ""));
  const [summary, details] = splitSentence(text);
  return {
    name: member.name,
    type: member.tsType === undefined ? signature(symbols, member) : formatType(symbols, member.tsType),
    defaultValue: plain(given.map((part) => part.trim()).filter((part) => part !== "").join(", ")),
    required: member.optional !== true,
    summary,
    details,
  };
}

/** Formats a value as code; leaves words unchanged. */
function literal(text: string): string {
  return /^(?:none|anything|\S*\s.*|)$/s.test(text) && !/^["[{]/.test(text) ? text : `\`${text}\``;
}

/** Formats links as code, and joins lines. */
function plain(text: string): string {
  return text
    .replace(/\{@link(?:code)?\s+([^}|]+?)(?:\s*\|\s*[^}]+)?\}/g, "`$1`")
    .replace(/\s+/g, " ")
    .trim();
}

/** Splits a text into its first sentence and the rest. */
function splitSentence(text: string): [string, string] {
  const end = /[.!?](?=\s+[A-Z`"])/.exec(
    text.replace(/\b(?:e\.g|i\.e)\./g, (found) => found.replaceAll(".", "·")),
  );
  if (end === null) return [text, ""];
  return [text.slice(0, end.index + 1), text.slice(end.index + 1).trim()];
}

const WORDS: Readonly<Record<string, string>> = { Duration: "duration", ByteSize: "size" };

function formatType(symbols: DocSymbols, type: DocType): string {
  const { kind, value, repr = "" } = type;
  switch (kind) {
    case "keyword":
      return repr;
    case "literal":
      return value.kind === "string" ? JSON.stringify(value.string) : repr;
    case "typeRef": {
      const name: string = value.typeName;
      if (name === "ReadonlyArray" || name === "Array") {
        return `${formatType(symbols, value.typeParams[0])}[]`;
      }
      if (name === "Awaitable" || name === "Readonly") return formatType(symbols, value.typeParams[0]);
      if (name === "Omit" || name === "Partial") return formatType(symbols, value.typeParams[0]);
      if (name === "Promise") return `Promise<${formatType(symbols, value.typeParams[0])}>`;
      if (name === "Record") return `{ [name]: ${formatType(symbols, value.typeParams[1])} }`;
      return WORDS[name] ?? meaning(symbols, name) ?? name;
    }
    case "array": {
      const item = formatType(symbols, value);
      return /[ |]/.test(item) ? `(${item})[]` : `${item}[]`;
    }
    case "typeOperator":
      return formatType(symbols, value.tsType);
    case "parenthesized":
      return formatType(symbols, value);
    case "union":
      return (value as DocType[]).map((each) => formatType(symbols, each)).join(" | ");
    case "tuple":
      return `[${(value as DocType[]).map((each) => formatType(symbols, each)).join(", ")}]`;
    case "fnOrConstructor":
      return signature(symbols, { params: value.params, returnType: value.tsType });
    case "typeLiteral":
      return `{ ${(value.properties as DocMember[]).map(({ name }) => name).join(", ")} }`;
    default:
      return repr;
  }
}

/** The definition of a short type name for a few words or a function: a table cannot link to it. */
function meaning(symbols: DocSymbols, name: string): string | undefined {
  const { kind, def } = symbols.get(name) ?? {};
  if (kind !== "typeAlias" || def?.tsType === undefined || def.tsType.kind === "intersection") {
    return undefined;
  }
  const text = formatType(symbols, def.tsType);
  return text.length > LONGEST || text.includes("{ ") ? undefined : text;
}

/** Longest definition that replaces a type name, in characters. */
const LONGEST = 160;

function signature(
  symbols: DocSymbols,
  { params = [], returnType }: Pick<DocMember, "params" | "returnType">,
): string {
  const names = params.map(({ name = "value", optional }) => optional ? `${name}?` : name).join(", ");
  return `(${names}) => ${returnType === undefined ? "void" : formatType(symbols, returnType)}`;
}
