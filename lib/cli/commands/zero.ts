import { formatServiceKey } from '../../index.ts'
import { withDryRun } from '../change.ts'
import type { CommandDefinition } from '../command.ts'
import { STATUS } from '../exit-status.ts'
import { SERVICE, serviceOf } from '../options.ts'
import type { CommonOptions, Run } from '../run.ts'

export const zero: CommandDefinition = {
  name: 'zero',
  description: 'Set the counters of a virtual service and its real servers to zero, or all counters.',
  examples: ['ipvs zero tcp/192.0.2.10:80', 'ipvs zero'],
  define: (command) => withDryRun(command.argument('[service]', SERVICE)),
  async act(run: Run, { dryRun = false }: CommonOptions & { readonly dryRun?: boolean }, text?: string) {
    const key = text === undefined ? undefined : serviceOf(text)
    await run.withTable(async (ipvs) => {
      if (key !== undefined) await ipvs.service(key)
      if (!dryRun) await ipvs.zero(key)
    })
    const name = key && formatServiceKey(key)
    if (run.json) run.printJson({ ...(name !== undefined && { service: name }), zeroed: !dryRun })
    else {
      const whose = name === undefined ? 'All counters' : `The counters of ${name} and its real servers`
      run.out.line(`${whose} ${dryRun ? 'would be' : 'were'} set to zero.`)
    }
    return dryRun ? STATUS.differs : STATUS.done
  },
}
