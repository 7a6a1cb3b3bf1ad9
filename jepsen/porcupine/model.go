// What a session does, written once more: is it there, its version, its status, and who is active.
package main

import (
	"fmt"
	"sort"
	"strings"

	"github.com/anishathalye/porcupine"
)

// spec is what is fixed in the life of a session: a line "Session" of the export.
type spec struct {
	Session    string   `json:"session"`
	Seats      int      `json:"seats"`
	InOrder    bool     `json:"in_order"`
	First      *int     `json:"first"`
	Skips      bool     `json:"skips"`
	FallsDue   bool     `json:"falls_due"`
	LivesOnce  bool     `json:"lives_once"`
	Told       []uint64 `json:"told"`
	VersionMax uint64   `json:"version_max"`
}

// call is what is asked for; of a refusal also what was told.
type call struct {
	Action   string  `json:"action"`
	Expected *uint64 `json:"expected"`
	Current  *int    `json:"current"`
	Next     *int    `json:"next"`
	Command  string  `json:"command"`
	Status   string  `json:"status"`
	Wanted   uint64  `json:"wanted"`
	Actual   uint64  `json:"actual"`
}

// seen is the session that an answer shows.
type seen struct {
	Version uint64 `json:"version"`
	Status  string `json:"status"`
	Active  *int   `json:"active"`
}

// output is what came of a call.
type output struct {
	// The call may have taken effect, or not.
	Open bool
	Seen *seen
}

const nobody = -1

// life is a session in one of the states that it may be in. Status is empty where it is not there.
type life struct {
	version   uint64
	commanded uint64
	status    string
	active    int
}

// states are all states that the session may be in: what the clock does, and whether an open call
// took effect, nobody knows. Sorted, without repeats.
type states []life

func (one life) isThere() bool { return one.status != "" }

func (one life) String() string {
	if !one.isThere() {
		return "not there"
	}
	return fmt.Sprintf("v%d %s %d", one.version, one.status, one.active)
}

func seatOf(seat *int) int {
	if seat == nil {
		return nobody
	}
	return *seat
}

func (one life) shows(shown *seen) bool {
	return shown == nil || one.isThere() && one.version == shown.Version &&
		one.status == shown.Status && one.active == seatOf(shown.Active)
}

// refuses tells whether a status does not allow a command.
func refuses(status, command string) bool {
	switch command {
	case "start":
		return status != "pending"
	case "switch", "pause":
		return status != "running"
	case "resume":
		return status != "paused"
	default:
		return false
	}
}

func (fixed *spec) all() []int {
	seats := make([]int, fixed.Seats)
	for seat := range seats {
		seats[seat] = seat
	}
	return seats
}

// following are those who may come next where the caller names nobody.
func (fixed *spec) following(active int) []int {
	if fixed.InOrder && !fixed.Skips && 0 <= active && active < fixed.Seats {
		return []int{(active + 1) % fixed.Seats}
	}
	return fixed.all()
}

// unseen is what the clock may have made of a session without anybody telling of it.
func (fixed *spec) unseen(one life) []life {
	if !fixed.FallsDue || one.status != "running" || fixed.VersionMax < one.version {
		return nil
	}
	if fixed.LivesOnce {
		for _, version := range fixed.Told {
			if version == one.version+1 {
				return nil
			}
		}
	}
	var after []life
	for _, seat := range fixed.all() {
		after = append(after, life{one.version + 1, one.commanded, "running", seat})
	}
	return append(after, life{one.version + 1, one.commanded, "expired", nobody})
}

// withUnseen adds everything that the clock may have done.
func (fixed *spec) withUnseen(from states) states {
	known := map[life]bool{}
	var reached states
	left := append(states{}, from...)
	for 0 < len(left) {
		one := left[len(left)-1]
		left = left[:len(left)-1]
		if known[one] {
			continue
		}
		known[one] = true
		reached = append(reached, one)
		left = append(left, fixed.unseen(one)...)
	}
	return reached
}

// command is the session after a command; a switch is to one of next.
func (fixed *spec) command(one life, command string, next []int) []life {
	if refuses(one.status, command) {
		return nil
	}
	version := one.version + 1
	var after []life
	running := func(seats []int) {
		for _, seat := range seats {
			after = append(after, life{version, version, "running", seat})
		}
	}
	switch command {
	case "start":
		if fixed.First != nil {
			running([]int{*fixed.First})
		} else {
			running(fixed.all())
		}
	case "switch":
		running(next)
	case "pause":
		after = append(after, life{version, version, "paused", one.active})
	case "resume":
		running([]int{one.active})
	case "complete":
		after = append(after, life{version, version, "completed", nobody})
	}
	return after
}

// effects are what a call may make of a session; nothing where it cannot be.
func (fixed *spec) effects(one life, asked call, shown *seen) []life {
	born := life{version: 1, commanded: 1, status: "pending", active: nobody}
	if !one.isThere() {
		switch {
		case asked.Action == "create" || asked.Action == "told" && asked.Command == "create":
			return []life{born}
		case asked.Action == "delete" || asked.Action == "missing":
			return []life{one}
		default:
			return nil
		}
	}
	same := func(holds bool) []life {
		if holds {
			return []life{one}
		}
		return nil
	}
	isExpected := asked.Expected == nil || *asked.Expected == one.version
	switch asked.Action {
	case "create":
		return same(one.status == "pending")
	case "delete", "gone":
		return []life{{active: nobody}}
	case "read", "exists":
		return same(true)
	case "own":
		if shown == nil || one.status != "running" {
			return nil
		}
		if shown.Status != "running" && shown.Status != "expired" {
			return nil
		}
		return []life{{one.version + 1, one.commanded, shown.Status, seatOf(shown.Active)}}
	case "conflict":
		// Without a version in the request it is the one that the leader had seen, and what the
		// clock did since is no conflict.
		moved := asked.Wanted < one.commanded || one.version < asked.Wanted
		if asked.Expected != nil {
			moved = *asked.Expected != one.version
		}
		return same(one.version == asked.Actual && moved)
	case "refused":
		return same(isExpected && one.status == asked.Status && refuses(one.status, asked.Command))
	case "not_current":
		other := one.active == seatOf(asked.Next) && one.active != seatOf(asked.Current)
		return same(isExpected && one.status == "running" && other)
	case "told":
		return fixed.command(one, asked.Command, fixed.all())
	case "start", "pause", "resume", "complete":
		if !isExpected {
			return nil
		}
		return fixed.command(one, asked.Action, nil)
	case "switch":
		if !isExpected || asked.Current != nil && *asked.Current != one.active {
			return nil
		}
		if asked.Next != nil {
			return fixed.command(one, "switch", []int{*asked.Next})
		}
		return fixed.command(one, "switch", fixed.following(one.active))
	default:
		return nil
	}
}

func (fixed *spec) step(from states, asked call, came output) states {
	known := map[life]bool{}
	var after states
	add := func(one life) {
		if !known[one] {
			known[one] = true
			after = append(after, one)
		}
	}
	if came.Open {
		for _, one := range from {
			add(one)
		}
	}
	for _, one := range fixed.withUnseen(from) {
		for _, next := range fixed.effects(one, asked, came.Seen) {
			if next.shows(came.Seen) {
				add(next)
			}
		}
	}
	sort.Slice(after, func(left, right int) bool {
		return fmt.Sprint(after[left], after[left].commanded) <
			fmt.Sprint(after[right], after[right].commanded)
	})
	return after
}

// modelOf is the model of one session.
func modelOf(fixed *spec) porcupine.Model {
	return porcupine.Model{
		Init: func() interface{} { return states{{active: nobody}} },
		Step: func(state, input, result interface{}) (bool, interface{}) {
			after := fixed.step(state.(states), input.(call), result.(output))
			return 0 < len(after), after
		},
		Equal: func(left, right interface{}) bool {
			one, other := left.(states), right.(states)
			if len(one) != len(other) {
				return false
			}
			for place := range one {
				if one[place] != other[place] {
					return false
				}
			}
			return true
		},
		DescribeOperation: func(input, result interface{}) string {
			asked, came := input.(call), result.(output)
			words := []string{asked.Action}
			if asked.Command != "" {
				words = append(words, asked.Command)
			}
			if asked.Expected != nil {
				words = append(words, fmt.Sprintf("expecting v%d", *asked.Expected))
			}
			switch {
			case came.Open:
				words = append(words, "-> ?")
			case came.Seen != nil:
				words = append(words, fmt.Sprintf("-> v%d %s %d", came.Seen.Version,
					came.Seen.Status, seatOf(came.Seen.Active)))
			}
			return strings.Join(words, " ")
		},
		DescribeState: func(state interface{}) string { return fmt.Sprint(state.(states)) },
	}
}
