/** Who may change things, by their tokens. */

import { type AdminToken, MIN_TOKEN_LENGTH, type ResolvedAdmin } from "../config/admin_options.ts";
import { ConfigError, type ConfigProblem } from "../config/config_error.ts";
import { messageOf } from "../core/callback.ts";
import { sameDigest } from "../filters/credentials.ts";

/** The tokens of an admin listener. */
export class Tokens {
  readonly #tokens: readonly (readonly [owner: string, token: string])[];

  constructor(tokens: readonly (readonly [owner: string, token: string])[]) {
    this.#tokens = tokens;
  }

  /** Whether nobody has one. */
  get empty(): boolean {
    return this.#tokens.length === 0;
  }

  /** The owner of a token; `null` when it is nobody's. All are compared, whichever it is. */
  async ownerOf(token: string): Promise<string | null> {
    const matches = await Promise.all(this.#tokens.map(([, secret]) => sameDigest(token, secret)));
    const index = matches.indexOf(true);
    return index < 0 ? null : this.#tokens[index]![0];
  }
}

/**
 * Reads the tokens from their files and from the environment.
 *
 * @throws {ConfigError} when one cannot be had, listing all such
 */
export function readTokens({ tokens }: ResolvedAdmin): Tokens {
  const problems: ConfigProblem[] = [];
  const read: [string, string][] = [];
  for (const [owner, token] of tokens) {
    const text = readToken(token);
    if (typeof text === "string") read.push([owner, text]);
    else problems.push({ path: `admin.tokens.${owner}`, message: text.problem });
  }
  if (problems.length > 0) throw new ConfigError("configuration", problems);
  return new Tokens(read);
}

/** Lists the tokens that cannot be had. */
export function findTokenProblems(admin: ResolvedAdmin | null): readonly ConfigProblem[] {
  if (admin === null) return [];
  try {
    readTokens(admin);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
}

function readToken(token: AdminToken): string | { readonly problem: string } {
  if (typeof token === "string") return token;
  const [where, read] = "file" in token
    ? [`the file ${JSON.stringify(token.file)}`, () => Deno.readTextFileSync(token.file)] as const
    : [`the variable ${JSON.stringify(token.env)}`, () => Deno.env.get(token.env)] as const;
  let text: string | undefined;
  try {
    text = read();
  } catch (error) {
    return { problem: `names ${where}, which cannot be read: ${messageOf(error)}` };
  }
  if (text === undefined) return { problem: `names ${where}, which is not set` };
  const trimmed = text.trim();
  if (trimmed.length >= MIN_TOKEN_LENGTH && /^[\x21-\x7e]+$/.test(trimmed)) return trimmed;
  return {
    problem:
      `names ${where}, whose content must be at least ${MIN_TOKEN_LENGTH} visible characters without spaces`,
  };
}
