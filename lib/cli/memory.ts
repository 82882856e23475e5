import {
  detectStateFormat,
  formatEndpoint,
  formatServiceKey,
  formatState,
  Ipvs,
  planStates,
  type SaveOptions,
  type State,
  StateSyntaxError,
} from '../index.ts'
import { createMemoryKernel, type LogEntry, type MemoryInterface } from '../testing.ts'
import { formatOfName } from '../text/extensions.ts'
import { readBytes } from '../util/read-file.ts'
import { replaceFile } from '../util/replace-file.ts'
import { FileError } from './exit-status.ts'
import type { NameSources } from './names.ts'
import { fileError, readStateOf } from './state-file.ts'
import { aboutTableFile } from './words.ts'

/** The in-memory kernel with the table of a file. */
interface MemoryTable {
  /** Opens the table; closing it leaves the kernel as it is. */
  open(): Promise<Ipvs>
  /** Writes the table to the file, whole or not at all, if it is no longer what it was. */
  writeBack(): Promise<void>
}

/** Opens the table of a file. One that is empty or does not exist is an empty table, and is written when that changes. */
export async function openMemory(file: string, names: NameSources): Promise<MemoryTable> {
  const text = await readText(file)
  const blank = text.trim() === ''
  const state = blank ? { services: [] } : await readStateOf(file, { stdin: process.stdin, names })
  // Or what something else has written between the two would be lost.
  await refuseChanged(file, text, 'while it was read; try again')
  const kernel = createMemoryKernel({ interfaces: interfacesFor(state) })
  const open = (): Promise<Ipvs> => Ipvs.open({ transport: kernel })
  const ours = await open()
  const fresh = await ours.save({ sysctls: true })
  try {
    await ours.restore(state)
  } catch (error) {
    if (error instanceof StateSyntaxError) throw error
    throw new FileError(`${file} cannot be loaded into the in-memory kernel: ${(error as Error).message}`)
  }
  const settings = async (): Promise<string> =>
    JSON.stringify([await ours.timeouts(), await ours.syncDaemons(), await ours.sysctls()])
  const settingsBefore = await settings()
  kernel.clearLog()
  // A file keeps its format.
  const format = detectStateFormat(text) ?? formatOfName(file) ?? 'json'
  return {
    open,
    async writeBack() {
      const sameSettings = (await settings()) === settingsBefore
      // Most commands only read: then the table need not be read again.
      if (sameSettings && !kernel.log.some(isChange)) return
      const after = await ours.save({ sysctls: true })
      if (sameSettings && (await sameServices(state, after))) return
      const refuse = (): Promise<void> => refuseChanged(file, text, 'meanwhile, and was not written')
      await refuse()
      try {
        const saved = await ours.save(partsOf(after, fresh, state))
        // What a table in a file was before is not kept: this file stands for a kernel.
        await replaceFile(file, await formatState(saved, { format }), { check: refuse })
      } catch (error) {
        if (error instanceof TypeError)
          throw new FileError(`${file} cannot be written: ${aboutTableFile(error.message)}`)
        throw fileError('write', file, error)
      }
    },
  }
}

/** A line for people, who must know that nothing here is real. */
export function memoryNote(file: string): string {
  return `ipvs: in-memory kernel with the table of ${file}; no real kernel is touched`
}

async function refuseChanged(file: string, text: string, when: string): Promise<void> {
  if ((await readText(file)) === text) return
  throw new FileError(`${file} was changed by something else ${when}`)
}

async function readText(file: string): Promise<string> {
  try {
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(await readBytes(file))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ''
    throw fileError('read', file, error)
  }
}

/** Whether a request may have changed services or real servers. */
function isChange({ command, code }: LogEntry): boolean {
  return code === undefined && !/^(get|zero)/.test(String(command))
}

async function sameServices(one: State, other: State): Promise<boolean> {
  const [before, after] = [{ services: one.services ?? [] }, { services: other.services ?? [] }]
  const there = await planStates(before, after)
  if (there.steps.length > 0) return false
  const back = await planStates(after, before)
  return serverOrders(there.wanted) === serverOrders(back.wanted)
}

/** The real servers of each service in their order, which a file keeps for every scheduler. */
function serverOrders({ services = [] }: State): string {
  const names = services.map(
    (service) =>
      `${formatServiceKey(service)} ${(service.realServers ?? []).map((server) => formatEndpoint(server)).join(' ')}`,
  )
  return names.sort().join('\n')
}

/** The parts to write: those that the file has, and those that differ from a kernel that has just started. */
function partsOf(now: State, fresh: State, file: State): SaveOptions {
  const { timeouts, syncDaemons = [], sysctls = {} } = now
  const names = Object.keys(sysctls).filter(
    // A sysctl that came with a scheduler's module starts as one day.
    (name) => sysctls[name] !== (fresh.sysctls?.[name] ?? '86400') || file.sysctls?.[name] !== undefined,
  )
  return {
    timeouts: file.timeouts !== undefined || JSON.stringify(timeouts) !== JSON.stringify(fresh.timeouts),
    syncDaemons: file.syncDaemons !== undefined || syncDaemons.length > 0,
    ...(names.length > 0 && { sysctls: names }),
  }
}

/** The interfaces that a table needs: one for each sync daemon. */
function interfacesFor({ syncDaemons = [] }: State): MemoryInterface[] {
  const names = new Set(['eth0', ...syncDaemons.map(({ multicastInterface }) => multicastInterface)])
  names.delete('lo')
  return [
    { name: 'lo', mtuBytes: 65536, addresses: ['127.0.0.1/8', '::1/128'] },
    ...[...names].map((name, index) => ({
      name,
      addresses: [`192.168.${String(index)}.2/24`, `fd00:0:0:${String(index)}::2/64`],
    })),
  ]
}
