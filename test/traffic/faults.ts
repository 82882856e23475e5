import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'
import { diagnose, type DiagnoseOptions, type Finding, type FindingCode } from '../../lib/index.ts'
import type { Site } from './topology.ts'

/** The command as it was built, for commands that findings print. */
const COMMAND = fileURLToPath(new URL('../../dist/cli/ipvs.cjs', import.meta.url))

/** Something that is wrong with a machine. */
export interface Fault<Name extends string> {
  readonly code: FindingCode
  /** What comes of the same fault, and is found too. */
  readonly also?: readonly FindingCode[]
  /** The host that the doctor looks at. */
  readonly on: Name
  readonly options?: Omit<DiagnoseOptions, 'netns'>
  /** Breaks what worked. */
  readonly make: () => Promise<unknown>
  /** Resolves while clients are served. */
  readonly serves: () => Promise<unknown>
  /** Resolves once clients see the fault. Default: that `serves` rejects. */
  readonly shows?: () => Promise<unknown>
  /** Does what the finding's message says, where no command can: only if it has none. */
  readonly byHand?: () => Promise<unknown>
  /** Where a finding's commands of another machine are to be run. */
  readonly elsewhere?: Name
}

/**
 * Clients are served, and the doctor finds nothing; the fault is made, and clients see it; the doctor finds it and
 * nothing else; its commands are run as they are printed; clients are served, and the doctor finds nothing.
 */
export async function expectMended<Name extends string>(
  { hosts, sh }: Site<Name>,
  { code, also = [], on, options = {}, make, serves, shows, byHand, elsewhere = on }: Fault<Name>,
): Promise<Finding> {
  const look = (): Promise<Finding[]> => diagnose({ ...options, netns: hosts[on].name })
  await serves()
  expect(await look()).toEqual([])

  await make()
  await (shows === undefined ? expect(serves(), 'clients are not served').rejects.toThrow() : shows())
  const findings = await look()
  expect(findings.map((one) => one.code)).toEqual([code, ...also])
  const [found] = findings as [Finding]

  if (byHand === undefined) expect(found.commands).not.toEqual([])
  for (const { where, commands } of findings) {
    for (const command of commands) await sh(where === 'here' ? on : elsewhere, ipvs(), command)
  }
  await byHand?.()
  await serves()
  expect(await look()).toEqual([])
  return found
}

/** A function of the shell, for commands that begin with ipvs. */
function ipvs(): string {
  return `ipvs() { IPVS_HISTORY=off '${process.execPath}' '${COMMAND}' "$@"; }`
}
