/** The version of the program. */

import manifest from "../../deno.json" with { type: "json" };

/** Version of this package, as published. */
export const VERSION: string = manifest.version;
