/** Programs of others that a test tries the proxy with; where one is not installed its test is skipped, and its name says so. */

/** Options of a test that needs a program, and what its name has to say. */
export interface FoundProgram {
  /** Whether the test is skipped. */
  readonly ignore: boolean;
  /** For the end of the test's name; `""` where the program is installed. */
  readonly missing: string;
}

/** Looks for a program. */
export async function findProgram(program: string): Promise<FoundProgram> {
  try {
    await new Deno.Command(program, { args: ["--version"], stdout: "null", stderr: "null" }).output();
    return { ignore: false, missing: "" };
  } catch {
    return { ignore: true, missing: ` (skipped: ${program} is not installed)` };
  }
}
