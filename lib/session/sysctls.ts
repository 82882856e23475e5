import { checkOptions } from '../model/check.ts'
import { checkSysctlName, checkSysctlValue, SYSCTLS } from '../model/sysctls.ts'
import type { RequestOptions } from '../model/types.ts'
import { valuesOf } from './reads.ts'
import { sysctlRefusal } from './refusals.ts'
import type { Session } from './session.ts'

/** The sysctls of net.ipv4.vs. They are files, not netlink. */

export async function readSysctls(
  session: Session,
  options: RequestOptions,
): Promise<Record<string, string>> {
  checkOptions(options, ['signal'])
  const { values } = await session.read('sysctls', (transport) => valuesOf(transport, SYSCTLS), options)
  return values
}

export async function readSysctl(
  session: Session,
  name: string,
  options: RequestOptions,
): Promise<string | undefined> {
  checkOptions(options, ['signal'])
  checkSysctlName(name)
  const { values } = await session.read('sysctl', (transport) => valuesOf(transport, [name]), options)
  return values[name]
}

export async function setSysctl(
  session: Session,
  name: string,
  value: string | number,
  options: RequestOptions,
): Promise<void> {
  checkOptions(options, ['signal'])
  checkSysctlName(name)
  const text = checkSysctlValue(name, value)
  const { failure } = await session.read(
    'setSysctl',
    async (transport) => ({ failure: await transport.setSysctl(name, text) }),
    options,
  )
  if (failure !== undefined) throw sysctlRefusal(failure, name, text)
}
