// Connects with a Go driver as in docs/clients.md, and prints the user.
//
//	clients pgx|postgres|mysql VARIABLE
//
// pgx and postgres (lib/pq) read a URL from the variable, mysql a DSN.
package main

import (
	"database/sql"
	"fmt"
	"os"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "github.com/lib/pq"
)

func main() {
	user, err := connect(os.Args[1], os.Getenv(os.Args[2]))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(user)
}

func connect(driver, url string) (user string, err error) {
	db, err := sql.Open(driver, url)
	if err != nil {
		return "", err
	}
	defer db.Close()
	query := "SELECT session_user"
	if driver == "mysql" {
		query = "SELECT SUBSTRING_INDEX(USER(), '@', 1)"
	}
	err = db.QueryRow(query).Scan(&user)
	return user, err
}
