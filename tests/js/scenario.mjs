// Runs one scenario, `node scenario.mjs MODULE NAME ARGUMENTS`, and prints what it returns as JSON.

import { pathToFileURL } from "node:url";

const [module, name, args] = process.argv.slice(2);
const scenarios = await import(pathToFileURL(module));
const result = await scenarios[name](...JSON.parse(args));
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
