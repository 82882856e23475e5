import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'
import { ADDON } from '../helpers/built-library.ts'
import { patient } from '../helpers/patience.mjs'

/** How a child process ended. */
export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** The Node that children run on: scripts/node-versions.mjs sets it. */
const node: string = process.env.IPVS_TEST_NODE ?? process.execPath

/** A process that takes longer hangs. Most are done in a tenth of a second. Tests have a little longer. */
const LIMIT_MS: number = patient(50_000)

export interface RunOptions {
  readonly flags?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

/** Runs a script of test/process/children to its end; one that has none is killed, and fails the test. */
export async function run(script: string, args: readonly string[], options: RunOptions = {}): Promise<Ended> {
  const path = fileURLToPath(new URL(`children/${script}.mjs`, import.meta.url))
  const env: NodeJS.ProcessEnv = { ...process.env, IPVS_TEST_ADDON: ADDON, ...options.env }
  delete env.NODE_OPTIONS
  delete env.NODE_DEBUG
  const child = spawn(node, [...(options.flags ?? []), path, ...args], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const output = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output.stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output.stderr += text))
  return await new Promise<Ended>((resolve, reject) => {
    const limit = setTimeout(() => {
      child.kill('SIGKILL')
      reject(
        new Error(
          `${script} ${args.join(' ')} did not end in ${LIMIT_MS} ms. It said: ${output.stdout}${output.stderr}`,
        ),
      )
    }, LIMIT_MS)
    child.on('error', reject)
    child.on('close', (code, signal) => {
      clearTimeout(limit)
      resolve({ code, signal, ...output })
    })
  })
}

/** Runs a script that ends well: status 0, no signal, nothing on stderr. Gives what it printed. */
export async function runWell(
  script: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const { stdout, ...ended } = await run(script, args, options)
  expect(ended).toEqual({ code: 0, signal: null, stderr: '' })
  return stdout
}
