// Lets Porcupine judge what `synckairos-jepsen export STORE_DIR --porcupine` wrote.
//
// Exit codes are those of synckairos-jepsen: 0 legal, 1 illegal, 2 it took too long, 254 bad
// arguments, 255 anything else.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/anishathalye/porcupine"
)

// line is any line of the export.
type line struct {
	Event    string `json:"event"`
	ClientID int    `json:"client_id"`
	OpID     int    `json:"op_id"`
	Call     *call  `json:"call"`
	Open     bool   `json:"open"`
	Seen     *seen  `json:"seen"`
	spec
}

// history is what one session went through.
type history struct {
	fixed  *spec
	events []porcupine.Event
}

func read(from io.Reader) ([]*history, error) {
	var histories []*history
	decoder := json.NewDecoder(bufio.NewReader(from))
	for number := 1; ; number++ {
		var next line
		if err := decoder.Decode(&next); err == io.EOF {
			return histories, nil
		} else if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if next.Event == "Session" {
			fixed := next.spec
			histories = append(histories, &history{fixed: &fixed})
			continue
		}
		if len(histories) == 0 || histories[len(histories)-1].fixed.Session != next.Session {
			return nil, fmt.Errorf("line %d: an event before its session", number)
		}
		event := porcupine.Event{ClientId: next.ClientID, Id: next.OpID}
		switch {
		case next.Event == "Start" && next.Call != nil:
			event.Kind, event.Value = porcupine.CallEvent, *next.Call
		case next.Event == "Finish":
			event.Kind = porcupine.ReturnEvent
			event.Value = output{Open: next.Open, Seen: next.Seen}
		default:
			return nil, fmt.Errorf("line %d: it is no event", number)
		}
		last := histories[len(histories)-1]
		last.events = append(last.events, event)
	}
}

func main() {
	patience := flag.Duration("timeout", time.Minute, "how long each session may take")
	picture := flag.String("html", "", "a file for a picture of the first session that is not legal")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: porcupine [-timeout 1m] [-html FILE] porcupine.jsonl")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(254)
	}
	code, err := judge(flag.Arg(0), *patience, *picture)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(255)
	}
	os.Exit(code)
}

func judge(path string, patience time.Duration, picture string) (int, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	histories, err := read(file)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	counts := map[porcupine.CheckResult]int{}
	for _, one := range histories {
		model := modelOf(one.fixed)
		result, info := porcupine.CheckEventsVerbose(model, one.events, patience)
		counts[result]++
		if result == porcupine.Ok {
			continue
		}
		fmt.Printf("%s: %s, %d operations\n", one.fixed.Session, result, len(one.events)/2)
		if picture != "" {
			if err := porcupine.VisualizePath(model, info, picture); err != nil {
				return 0, err
			}
			picture = ""
		}
	}
	fmt.Printf("%d sessions: %d legal, %d illegal, %d unknown\n", len(histories),
		counts[porcupine.Ok], counts[porcupine.Illegal], counts[porcupine.Unknown])
	switch {
	case 0 < counts[porcupine.Illegal]:
		return 1, nil
	case 0 < counts[porcupine.Unknown]:
		return 2, nil
	default:
		return 0, nil
	}
}
