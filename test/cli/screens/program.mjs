// node program.mjs FOLDER LINE...: runs lines of the built command, one after the other, on a table with numbers that the
// in-memory kernel never counts to. FOLDER is that of the package.
import { createRequire } from 'node:module'
import process from 'node:process'
import { TABLE } from './table.mjs'

const [folder = '', ...lines] = process.argv.slice(2)
const { runCommand } = createRequire(import.meta.url)(`${folder}/dist/cli/commands.cjs`)

/** What list and show ask of an Ipvs. @param {object} key */
const find = (key) =>
  TABLE.find(({ service }) => JSON.stringify(service.key) === JSON.stringify(key)) ?? { service: undefined, realServers: [] }
const ipvs = {
  snapshot: async () => TABLE,
  /** @param {object} key */
  service: async (key) => find(key).service,
  /** @param {object} key */
  realServers: async (key) => find(key).realServers,
  close: async () => undefined,
}

for (const line of lines) {
  process.stdout.write(`$ ipvs ${line}\n`)
  await runCommand(line.split(' '), {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    open: async () => ipvs,
    now: () => 0,
    onSignal: () => () => undefined,
  })
  process.stdout.write('\n')
}
