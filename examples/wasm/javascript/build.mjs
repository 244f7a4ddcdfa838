// Makes loans.wasm of loans.js.
import { readFile, writeFile } from "node:fs/promises";
// It uses @bytecodealliance/preview2-shim without naming it as a dependency, so package.json names both.
import { componentize } from "@bytecodealliance/componentize-js";

const { component } = await componentize(await readFile("loans.js", "utf8"), {
  witPath: "../../../files/wit",
  worldName: "projection",
  // A projection may not do I/O, so the component must not import what these would need.
  disableFeatures: ["stdio", "random", "clocks", "http", "fetch-event"],
});
await writeFile("loans.wasm", component);
