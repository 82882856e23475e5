import { readFile } from 'node:fs/promises'
import {
  detectStateFormat,
  Ipvs,
  planStates,
  type SaveToFileOptions,
  type State,
  type StateFormat,
} from '../index.ts'
import { createMemoryKernel, type LogEntry, type MemoryInterface } from '../testing.ts'
import { FileError } from './exit-status.ts'
import { fileError, readStateOf } from './state-file.ts'

/** The in-memory kernel with the table of a file. */
export interface MemoryTable {
  /** Opens the table; closing it leaves the kernel as it is. */
  open(): Promise<Ipvs>
  /** Writes the table to the file, whole or not at all, if it is no longer what it was. */
  writeBack(): Promise<void>
}

/** Opens it. A file that is empty, or not there, is an empty table, and written when that changes. */
export async function openMemory(file: string): Promise<MemoryTable> {
  const text = await readText(file)
  const blank = text.trim() === ''
  // Of a file, standard input is never asked.
  const state = blank ? { services: [] } : await readStateOf(file, process.stdin, undefined)
  const kernel = createMemoryKernel({ interfaces: interfacesFor(state) })
  const open = (): Promise<Ipvs> => Ipvs.open({ transport: kernel })
  const ours = await open()
  const fresh = await ours.save({ sysctls: true })
  try {
    await ours.restore(state)
  } catch (error) {
    throw new FileError(`${file} does not go into the in-memory kernel: ${(error as Error).message}`)
  }
  const settings = async (): Promise<string> =>
    JSON.stringify([await ours.timeouts(), await ours.syncDaemons(), await ours.sysctls()])
  const settingsBefore = await settings()
  kernel.clearLog()
  // A file keeps the form that it has.
  const format = detectStateFormat(text) ?? formatOfNew(file)
  return {
    open,
    async writeBack() {
      const sameSettings = (await settings()) === settingsBefore
      // Most commands only read: then the table need not be read again.
      if (sameSettings && !kernel.log.some(isChange)) return
      const after = await ours.save({ sysctls: true })
      if (sameSettings && (await sameServices(state, after))) return
      if ((await readText(file)) !== text) {
        throw new FileError(`${file} was changed by someone else meanwhile, and is left as it is`)
      }
      try {
        await ours.saveToFile(file, {
          ...partsOf(after, fresh, state),
          ...(format !== undefined && { format }),
        })
      } catch (error) {
        if (error instanceof TypeError) throw new FileError(`${file} cannot be written: ${error.message}`)
        throw fileError('write', file, error)
      }
    },
  }
}

/** Whoever looks on must know that nothing here is real. */
export function memoryNote(file: string): string {
  return `ipvs: in-memory kernel, no real one is touched; its table is ${file}\n`
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
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
  const { steps, reordered } = await planStates({ services: one.services }, { services: other.services })
  return steps.length === 0 && reordered.length === 0
}

/** The parts to write: those that the file has, and those that are not as in a kernel that has just started. */
function partsOf(now: State, fresh: State, file: State): SaveToFileOptions {
  const { timeouts, syncDaemons = [], sysctls = {} } = now
  const names = Object.keys(sysctls).filter(
    // One that came with a scheduler's module begins with a day.
    (name) => sysctls[name] !== (fresh.sysctls?.[name] ?? '86400') || file.sysctls?.[name] !== undefined,
  )
  return {
    timeouts: file.timeouts !== undefined || JSON.stringify(timeouts) !== JSON.stringify(fresh.timeouts),
    syncDaemons: file.syncDaemons !== undefined || syncDaemons.length > 0,
    ...(names.length > 0 && { sysctls: names }),
  }
}

/** A new one has the form that its name tells; `undefined` leaves that to what writes it. */
function formatOfNew(file: string): StateFormat | undefined {
  return /\.(json|ya?ml|rules|ipvs|save)$/i.test(file) ? undefined : 'json'
}

/** As many interfaces as the table needs: each sync daemon has one. */
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
