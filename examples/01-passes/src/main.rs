//! Prints the table.

fn main() {
    println!("{:<20} {:>7} {:>6}   algorithm", "cascade", "written", "bound");
    for row in passes::table() {
        println!("{:<20} {:>7} {:>6}   {}", row.name, row.written, row.bound, row.about);
    }
}
