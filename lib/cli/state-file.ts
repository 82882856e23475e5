import {
  IpvsError,
  type Lookups,
  parseState,
  type ParseStateOptions,
  readState,
  type State,
  type StateFormat,
  StateSyntaxError,
} from '../index.ts'
import { LONGEST_FILE_BYTES } from '../util/read-file.ts'
import { FileError } from './exit-status.ts'
import { Names, type NameSources } from './names.ts'
import type { Input, Surroundings } from './terminal/surroundings.ts'

/** A FILE of the command line that means standard input. */
export const STDIN = '-'

const WORDS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file or folder',
  EACCES: 'permission denied',
  EISDIR: 'it is a folder',
  ENOTDIR: 'a part of its path is not a folder',
  EROFS: 'its file system is read-only',
  ENOSPC: 'no space is left on its file system',
}

/** Looks up names of hosts and services in lines of ipvsadm, as these sources know them at that moment. */
function lookupsIn(sources: NameSources): Required<Lookups> {
  const names = new Names(sources)
  return {
    lookupService: (name, protocol) => names.portOf(name, protocol),
    async lookupHost(name, family) {
      const number = family === 'ipv6' ? 6 : 4
      await names.findAddress(name, number)
      return names.addressOf(name, number)
    },
  }
}

/** How a state is read. */
export interface ReadOptions {
  readonly format?: StateFormat
  /** Whether it is known to be whole. */
  readonly whole?: boolean
}

/** The same for the library, which then knows names of hosts and services. */
export function parseOptions({ format, whole }: ReadOptions, names: NameSources): ParseStateOptions {
  return {
    ...(format !== undefined && { format }),
    ...(whole !== undefined && { whole }),
    ...lookupsIn(names),
  }
}

/** Reads a state in any of its formats. Lines of ipvsadm may have names of hosts and services. */
export async function readStateOf(
  file: string,
  { stdin, names }: Pick<Surroundings, 'stdin' | 'names'>,
  how: ReadOptions = {},
): Promise<State> {
  const options = parseOptions(how, names)
  try {
    if (file !== STDIN) return await readState(file, options)
    return await parseState(await readBytes(stdin), { whole: false, ...options })
  } catch (error) {
    throw readError(file, error)
  }
}

/** Why a state could not be read, with the names that files and options have here. */
export function readError(file: string, error: unknown): unknown {
  if (!(error instanceof StateSyntaxError))
    return fileError('read', file === STDIN ? 'standard input' : file, error)
  return new FileError(file === STDIN ? `standard input: ${error.message}` : error.message)
}

/** Does something with the state that was read from a file. Some of its mistakes show only beside a table. */
export async function ofFile<T>(file: string, work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    throw error instanceof StateSyntaxError ? readError(file, error) : error
  }
}

async function readBytes(stdin: Input): Promise<Uint8Array> {
  const pieces: Uint8Array[] = []
  let length = 0
  for await (const piece of stdin) {
    const bytes = typeof piece === 'string' ? Buffer.from(piece) : piece
    length += bytes.length
    if (length > LONGEST_FILE_BYTES) {
      throw new FileError(`standard input is longer than ${String(LONGEST_FILE_BYTES)} bytes`)
    }
    pieces.push(bytes)
  }
  return Buffer.concat(pieces)
}

/** An error of the file system, in words; any other as it is. */
export function fileError(verb: string, file: string, error: unknown): unknown {
  // It may name a system call too, that of the socket.
  if (error instanceof IpvsError) return error
  const { code, syscall, path, message } = error as NodeJS.ErrnoException
  if (code === undefined || (syscall === undefined && path === undefined)) return error
  return Object.assign(new FileError(`cannot ${verb} ${file}: ${WORDS[code] ?? message}`), { code })
}
