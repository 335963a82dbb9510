/** Other programs for tests; a test is skipped if its program is not installed, and its name says so. */

/** Options for a test that needs a program, and the end of its name. */
export interface FoundProgram {
  /** Whether the test is skipped. */
  readonly ignore: boolean;
  /** End of the test's name; `""` if the program is installed. */
  readonly missing: string;
}

/** Checks whether a program is installed. */
export async function findProgram(program: string): Promise<FoundProgram> {
  try {
    await new Deno.Command(program, { args: ["--version"], stdout: "null", stderr: "null" }).output();
    return { ignore: false, missing: "" };
  } catch {
    return { ignore: true, missing: ` (skipped: ${program} is not installed)` };
  }
}
