import { FileWatch } from "../../../lib/cli/file_watch.ts";
import type { ModuleTexts } from "../../../lib/config/module_graph.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { ProgramFolder } from "../../support/program.ts";

/** Watches a file; `changed` resolves when it is told of a change. */
function watch(file: string, clock: FakeClock, texts: ModuleTexts) {
  const { promise: changed, resolve } = Promise.withResolvers<void>();
  const watcher = new FileWatch({
    files: new Set([file]),
    texts: () => texts,
    clock,
    onChange: () => Promise.resolve(resolve()),
    onError: (error) => {
      throw error;
    },
  });
  return { changed, watcher };
}

Deno.test("FileWatch notices that a file is another one already than was loaded", async () => {
  await using folder = await ProgramFolder.with({ "a.ts": "new" });
  const file = `${folder.path}/a.ts`;
  const { changed, watcher } = watch(file, new FakeClock(), { [file]: "old" });
  using _watcher = watcher;
  await changed;
});

Deno.test({
  name: "FileWatch looks every two seconds, whatever the system says",
  ignore: Deno.build.os === "windows",
  async fn() {
    await using folder = await ProgramFolder.with({});
    const { path } = folder;
    for (const name of ["1", "2"]) {
      await Deno.mkdir(`${path}/${name}`);
      await Deno.writeTextFile(`${path}/${name}/a.ts`, name);
    }
    await Deno.symlink("1", `${path}/current`);
    const file = `${path}/current/a.ts`;
    const clock = new FakeClock();
    const { changed, watcher } = watch(file, clock, { [file]: "1" });
    using _watcher = watcher;
    // Of this nobody tells who watches the folder `1`.
    await Deno.symlink("2", `${path}/new`);
    await Deno.rename(`${path}/new`, `${path}/current`);
    let told = false;
    void changed.then(() => told = true);
    // Where the system has told of something after all, it is looked once the folder is left alone.
    for (let turn = 0; turn < 1000 && !told; turn++) {
      await clock.advance(2000);
      await new Promise((resolve) => setTimeout(resolve));
    }
    await changed;
  },
});
