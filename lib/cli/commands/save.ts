import { Option } from 'commander'
import { formatState, type SaveOptions, type StateFormat, type StateLoss } from '../../index.ts'
import type { CommandDefinition } from '../command.ts'
import { asUsage, STATUS, UsageError } from '../exit-status.ts'
import { FORMATS, listOf, SCOPE, scopeOf, wholeNumber } from '../options.ts'
import type { CommonOptions, Run } from '../run.ts'
import { schemaForEditors } from '../schema-file.ts'
import { fileError, STDIN } from '../state-file.ts'
import { line } from '../terminal/line.ts'

interface SaveCommandOptions extends CommonOptions {
  readonly format?: StateFormat
  readonly timeouts?: boolean
  readonly syncDaemons?: boolean
  readonly sysctls?: boolean
  readonly sysctl?: readonly string[]
  readonly scope?: readonly string[]
  readonly lossy?: boolean
  readonly keep?: number
  readonly allowEmpty?: boolean
}

export const save: CommandDefinition = {
  name: 'save',
  description: 'Save the table as a state, to a file or to standard output.',
  examples: [
    'ipvs save /etc/ipvs.json',
    'ipvs save --format yaml',
    'ipvs save /etc/ipvs.json --keep 7',
    'ipvs save --sysctl conntrack,expire_nodest_conn table.json',
    'ipvs save --scope 192.0.2.0/24 --scope fwmark/5 mine.yaml',
  ],
  define: (command) =>
    command
      .argument('[file]', 'replaced as a whole or not at all (default: standard output)')
      .addOption(
        new Option('--format <format>', "default: by the file's extension; json on standard output").choices(
          FORMATS,
        ),
      )
      .option('--no-timeouts', 'leave out the timeouts')
      .option('--no-sync-daemons', 'leave out the sync daemons')
      .option('--sysctls', 'include all sysctls of net.ipv4.vs')
      .option('--sysctl <names>', 'include these sysctls; may be repeated', listOf())
      .option('--scope <scope>', `only services inside ${SCOPE}`, listOf())
      .option('--lossy', 'with --format ipvsadm: leave out what its lines cannot say, and report it')
      .option(
        '--keep <number>',
        'versions from before to keep: FILE~, FILE~2 and so on (default: 1)',
        wholeNumber,
      )
      .option('--allow-empty', 'replace a file that has services even if the table has none'),
  async act(run: Run, options: SaveCommandOptions, file: string | undefined) {
    const { format, keep, allowEmpty } = options
    const printed = file === undefined || file === STDIN
    if (printed && (keep !== undefined || allowEmpty !== undefined))
      throw new UsageError(`${keep === undefined ? '--allow-empty' : '--keep'} is for a file: name it`)
    if (run.json && printed && format !== undefined && format !== 'json')
      throw new UsageError(`--json prints JSON and cannot be combined with --format ${format}`)
    const parts = partsOf(options)
    const how = {
      ...(format !== undefined && { format }),
      ...(options.lossy === true && {
        onLoss: ({ path, reason }: StateLoss) => {
          run.note(line`${path}: ${reason}`)
        },
      }),
    }
    const schema = schemaForEditors()
    const filing = {
      ...(keep !== undefined && { keep }),
      ...(allowEmpty !== undefined && { allowEmpty }),
      ...(schema !== undefined && { schema }),
    }
    await run.withTable(async (ipvs) => {
      try {
        if (printed) run.out.document(await formatState(await ipvs.save(parts), how))
        else await ipvs.saveToFile(file, { ...parts, ...how, ...filing })
      } catch (error) {
        // Nothing is wrong with the file, which has services; see saveToFile().
        if ((error as NodeJS.ErrnoException).code === 'ERR_IPVS_EMPTY') throw error
        throw fileError('write', file ?? '', asUsage(error))
      }
    })
    return STATUS.done
  },
}

function partsOf({ timeouts, syncDaemons, sysctl, sysctls = false, scope }: SaveCommandOptions): SaveOptions {
  return {
    // Commander says true where the option is not given, which is the default anyway.
    ...(timeouts === false && { timeouts }),
    ...(syncDaemons === false && { syncDaemons }),
    ...((sysctl !== undefined || sysctls) && { sysctls: sysctl ?? sysctls }),
    ...(scope !== undefined && { scope: scopeOf(scope) }),
  }
}
