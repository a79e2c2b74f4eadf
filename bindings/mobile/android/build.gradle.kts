// Kotlin comes with the Android plug-in from version 9 on.
plugins {
    id("com.android.library") version "9.0.0" apply false
    id("com.android.application") version "9.0.0" apply false
}
