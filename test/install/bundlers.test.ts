// A program that uses the package, bundled into one file by the examples of docs/examples, with the addon beside it: it
// runs in another folder, where there is no package.
import { cpSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { fetchInstalled } from '../../scripts/runtimes.mjs'
import { describeWith, installWithNpm, type Place, run } from './installation.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

const APP = `
import { Ipvs, IpvsError } from 'ipvs'
import { parseState } from 'ipvs/text'

async function main() {
  const { services } = await parseState('services: [{ protocol: tcp, address: 192.0.2.10, port: 80 }]')
  const said = await Ipvs.open().then(
    (ipvs) => ipvs.close().then(() => 'opened'),
    (error) => (error instanceof IpvsError ? 'IpvsError' : error.message),
  )
  console.log(JSON.stringify({ services, said }))
}
main()
`

/** Does the same as webpack-cli: prints the errors and warnings of webpack. */
const WEBPACK = `
import webpack from './node_modules/webpack/lib/index.js'
import config from './webpack.config.mjs'
webpack(config, (error, stats) => {
  if (error) throw error
  const { errors, warnings } = stats.toJson({ all: false, errors: true, warnings: true })
  for (const { message } of [...errors, ...warnings]) console.log(message)
})
`

interface Bundler {
  readonly title: string
  /** A file of docs/examples. */
  readonly example: string
  /** The changes that docs/install.md describes. */
  readonly changes: readonly (readonly [line: RegExp, instead: string])[]
  readonly command: readonly string[]
  readonly bundle: string
}

const esbuild = { example: 'esbuild.mjs', command: ['node', 'esbuild.mjs'] }
const webpack = { example: 'webpack.config.mjs', command: ['node', 'webpack.mjs'] }
const BUNDLERS: readonly Bundler[] = [
  { title: 'esbuild, an ES module', ...esbuild, changes: [], bundle: 'app.mjs' },
  {
    title: 'esbuild, CommonJS',
    ...esbuild,
    changes: [
      [/'esm',/, "'cjs',"],
      [/app\.mjs',\n {2}format/, "app.cjs',\n  format"],
      [/ {2}\/\/ Only for 'esm'.*?\n {2}},\n/s, ''],
    ],
    bundle: 'app.cjs',
  },
  { title: 'webpack, an ES module', ...webpack, changes: [], bundle: 'app.mjs' },
  {
    title: 'webpack, CommonJS',
    ...webpack,
    changes: [
      [/ {4}module: true,\n/, ''],
      [/ {2}experiments: .*\n/, ''],
      [/filename: 'app\.mjs'/, "filename: 'app.cjs'"],
    ],
    bundle: 'app.cjs',
  },
]

/** A project with the package and both bundlers. */
async function getProject(): Promise<Place> {
  const webpackFolder = await fetchInstalled('webpack', '5.113.0')
  const place = await installWithNpm()
  place.write('app.mjs', APP)
  place.write('webpack.mjs', WEBPACK)
  for (const folder of [join(webpackFolder, 'node_modules/webpack'), join(ROOT, 'node_modules/esbuild')]) {
    symlinkSync(folder, join(place.project, 'node_modules', basename(folder)))
  }
  return place
}

await describeWith('bundlers', getProject, (place) => {
  afterAll(() => {
    place.remove()
  })

  describe.each(BUNDLERS.map((bundler) => [bundler.title, bundler] as const))(
    '%s',
    (title, { example, changes, command, bundle }) => {
      const elsewhere = join(place.folder, title)

      async function start(): Promise<{ readonly services: unknown; readonly said: string }> {
        const { stdout, stderr } = await run({ ...place.command('node', bundle), cwd: elsewhere })
        expect(stderr).toBe('')
        return JSON.parse(stdout) as Awaited<ReturnType<typeof start>>
      }

      it('is one file and the addon, and the bundler warns of nothing', async () => {
        let text = readFileSync(join(ROOT, 'docs/examples', example), 'utf8')
        for (const [line, instead] of changes) {
          expect(text).toMatch(line)
          text = text.replace(line, instead)
        }
        place.write(example, text)
        const dist = join(place.project, 'dist')
        rmSync(dist, { recursive: true, force: true })
        expect(await run(place.command(...command))).toEqual({ status: 0, stdout: '', stderr: '' })
        expect(readdirSync(dist).sort()).toEqual([bundle, 'ipvs.node'])
        cpSync(dist, elsewhere, { recursive: true })
      })

      it('runs elsewhere, and reads YAML', async () => {
        const { services, said } = await start()
        expect(services).toEqual([{ protocol: 'tcp', address: '192.0.2.10', port: 80 }])
        // A machine without IPVS has the kernel's word.
        expect(said).toMatch(/^(opened|IpvsError)$/)
      })

      it('without the addon says where to copy it', async () => {
        rmSync(join(elsewhere, 'ipvs.node'))
        const { said } = await start()
        expect(said).toContain(
          `it was looked for in ${elsewhere}/ipvs.node (no such file). Copy ipvs.node there`,
        )
      })
    },
  )
})
