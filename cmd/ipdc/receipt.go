package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

func (a *app) receiptCmd() *cobra.Command {
	return group("receipt", "Check what workers have signed", a.receiptVerifyCmd())
}

func (a *app) receiptVerifyCmd() *cobra.Command {
	var worker string
	cmd := &cobra.Command{
		Use: "verify FILE|JOB|-", Short: "Check the signatures of receipts",
		Long: "Verify checks each receipt against the key that its worker's id holds, and a job's\n" +
			"receipts against its record. FILE is a receipt, a job's record (ipdc job describe\n" +
			"-o json), or a list of either, as JSON or YAML; it needs no node. What does not\n" +
			"hold ends with exit code 7. A receipt says who signed it: give --worker to demand\n" +
			"one whom you trust.",
		Example: "  ipdc receipt verify @last\n  ipdc job describe 01kb -o json > job.json\n  ipdc receipt verify job.json --worker 12D3KooW...",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if worker != "" {
				if _, err := identity.ParseID(worker); err != nil {
					return usagef("--worker %q: %w", worker, err)
				}
			}
			list, err := a.receipts(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			for i := range list {
				list[i].verify(worker)
			}
			return a.printVerdicts(list)
		},
	}
	cmd.Flags().StringVar(&worker, "worker", "", "id of the node that must have signed")
	return cmd
}

// verdict is a receipt and what was found wrong with it.
type verdict struct {
	Receipt jobspec.Receipt `json:"receipt"`
	Valid   bool            `json:"valid"`
	Problem string          `json:"problem,omitempty"`

	job     *wire.Job // whose record it is from; nil = none
	attempt jobspec.Attempt
	err     error // why it could not be read
}

func (v *verdict) verify(worker string) {
	err := v.err
	if err == nil {
		err = jobspec.VerifyReceipt(v.Receipt)
	}
	if err == nil && worker != "" && v.Receipt.Worker != worker {
		err = jobspec.KindSignature.Errorf("signed by %s, want %s", v.Receipt.Worker, worker)
	}
	if err == nil && v.job != nil {
		err = v.fits()
	}
	if v.Valid = err == nil; err != nil {
		v.Problem = jobspec.AsFailure(err).Detail
	}
}

// fits compares a receipt with the record that it was found in.
func (v *verdict) fits() error {
	spec, err := v.specCID()
	if err != nil {
		return err
	}
	r, at := v.Receipt, v.attempt
	for _, c := range []struct{ what, signed, record string }{
		{"the attempt", r.Attempt, at.ID.String()},
		{"the job", at.ID.Job.String(), v.job.ID.String()},
		{"the spec CID", r.SpecCID.String(), spec.String()},
		{"the output", r.Output.String(), at.Output.String()},
		{"the worker", r.Worker, at.Node},
		{"the exit code", fmt.Sprint(r.ExitCode), fmt.Sprint(at.ExitCode)},
	} {
		if c.signed != c.record {
			return jobspec.KindSignature.Errorf("%s is %q in the receipt and %q in the record", c.what, c.signed, c.record)
		}
	}
	return nil
}

// specCID is that of the spec that the attempt ran under: the job's, or that of
// its stage.
func (v *verdict) specCID() (jobspec.CID, error) {
	j := v.job
	if len(j.Spec.Stages) == 0 {
		return j.Spec.CID()
	}
	for _, t := range j.Tasks {
		i := j.Spec.StageIndex(t.Stage)
		if t.Index != v.attempt.ID.Task || i < 0 || i >= len(j.Stages) {
			continue
		}
		one := j.Spec.Stage(i)
		if !j.Spec.ReadsInputs(i) {
			one = one.Reading(j.Stages[i].Input)
		}
		return one.CID()
	}
	return jobspec.CID{}, jobspec.KindSignature.Errorf("the record does not say of which stage task %d is", v.attempt.ID.Task)
}

// receipts finds the receipts of a file, of standard input, or of a job.
func (a *app) receipts(ctx context.Context, arg string) ([]verdict, error) {
	if arg == "-" {
		b, err := io.ReadAll(io.LimitReader(a.in, maxRecord))
		if err != nil {
			return nil, err
		}
		return readReceipts("standard input", b)
	}
	b, err := os.ReadFile(arg)
	if err == nil {
		return readReceipts(arg, b)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var list []verdict
	err = a.withClient(func(c *client.Client) error {
		j, err := c.Job(ctx, arg)
		if errors.Is(err, client.ErrNoNode) {
			return fmt.Errorf("%s is no file here, and to ask for a job: %w", arg, err)
		}
		if err == nil {
			list, err = jobReceipts(j, j.Attempts)
		}
		return err
	})
	return list, err
}

func jobReceipts(j wire.Job, attempts []jobspec.Attempt) (list []verdict, err error) {
	for _, at := range attempts {
		if at.Receipt != nil {
			list = append(list, verdict{Receipt: *at.Receipt, job: &j, attempt: at})
		}
	}
	if len(list) == 0 {
		f := jobspec.Failure{Kind: jobspec.KindNotFound, Detail: fmt.Sprintf("job %s is %s and has no receipt", j.ID, j.State)}
		if j.Remembered > 0 {
			f.Detail += fmt.Sprintf("; %d of its results were remembered from earlier jobs, whose receipts hold them", j.Remembered)
		}
		err = f.Error()
	}
	return list, err
}

func (a *app) printVerdicts(list []verdict) error {
	bad := 0
	var why string
	for _, v := range list {
		if !v.Valid {
			bad, why = bad+1, v.Problem
		}
	}
	name := ""
	for i, v := range list {
		if i > 0 {
			name += "\n"
		}
		name += v.Receipt.Attempt
	}
	err := a.print(list, name, func(w io.Writer) error { return a.verdictText(w, list) })
	if err == nil && bad > 0 {
		err = jobspec.KindSignature.Errorf("%d of %s cannot be relied on: %s", bad, count(int64(len(list)), "receipt"), why)
	}
	return err
}

// verdictText shows one receipt in full and several as a table.
func (a *app) verdictText(w io.Writer, list []verdict) error {
	if len(list) > 1 && a.format != formatWide {
		rows := [][]string{{"ATTEMPT", "SIGNATURE", "EXIT", "WALL", "OUTPUT", "WORKER"}}
		for _, v := range list {
			r := v.Receipt
			rows = append(rows, []string{
				r.Attempt, v.state(), fmt.Sprint(r.ExitCode), span(time.Duration(r.Usage.Wall)), orDash(a.shortCID(r.Output)), r.Worker,
			})
		}
		return table(w, rows)
	}
	for i, v := range list {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if err := table(w, v.rows()); err != nil {
			return err
		}
	}
	return nil
}

func (v verdict) state() string {
	if v.Valid {
		return "valid"
	}
	return "INVALID"
}

func (v verdict) rows() [][]string {
	r := v.Receipt
	rows := [][]string{{"Attempt:", r.Attempt}, {"Signature:", v.state()}}
	if v.Problem != "" {
		rows = append(rows, []string{"Problem:", v.Problem})
	}
	end := fmt.Sprintf("exit code %d", r.ExitCode)
	if r.Kind != "" {
		end += " (" + string(r.Kind) + ")"
	}
	return append(rows,
		[]string{"Worker:", r.Worker},
		[]string{"Spec:", r.SpecCID.String()},
		[]string{"Task key:", r.TaskKey.String()},
		[]string{"Input:", orDash(r.Input.String())},
		[]string{"Image:", r.Image.String()},
		[]string{"End:", end},
		[]string{"Output:", orDash(r.Output.String())},
		[]string{"Used:", fmt.Sprintf("%s CPU, %s memory", span(time.Duration(r.Usage.CPU)), size(int64(r.Usage.MaxMemory)))},
		[]string{"Started:", stamp(r.Started)},
		[]string{"Exited:", stamp(r.Exited)},
	)
}
